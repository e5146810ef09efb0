"""Transport: the only package that imports Ray. Each file turns one callable of `sheep.serial.Way` into a distributed one."""
