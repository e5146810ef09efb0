"""Turns of phrase that a native technical writer would not use, as regular expressions.

Case does not matter, and a space stands for one space or line break.

Only phrases whose ordinary technical use is rare are listed. The count compares two versions of one text; it does not
grade a single sentence.
"""

IDIOMS = (
    # movement and posture where a plain verb would do
    r"\b(?:goes?|went|gone|going) the whole way\b|\bthe whole way\b",
    r"\bgone on (?:with|from|behind)\b",
    r"\bgo(?:es|ing)? on (?:from|behind|in|with|elsewhere|bit|is)\b|\bstill going on\b",
    r"\bhangs? on\b(?! windows)",
    r"\bstands? (?:there|beside|above|between)\b",
    r"\b(?:is|are|be) laid\b|\blays? a\b|\bwhere (?:it|each|[a-z' ]{1,30}) lies?\b",
    r"\blies? (?:on storage|beside|below)\b",
    r"\bgot (?:no |any )?further\b|\bgets? on in between\b",
    r"\bway of the data\b|\bthe way back\b|\bon the way to it\b",
    r"\btaken? up again\b|\btakes? (?:them|it) apart\b|\btake up a (?:video|state)\b",
    r"\bcrowds? out\b|\bdrowns?\b",
    r"\bcarr(?:y|ies|ied) (?:the same way|it|them)\b|\bthem carried\b",
    r"\bcomes? out as\b|\bwhat c(?:a|o)me(?:s)? out\b",
    # people and speech in place of programs and values
    r"\blooks? at the teacher\b|\ba look has\b|\bworth a look\b",
    r"\bwhen it says no\b|\bsays? (?:so|no|more|who)\b",
    r"\bunless said\b|\bwas said\b|\bsaid (?:so|once|of)\b|\bcan be said\b",
    r"\bspeaks? of\b|\blearns? (?:alone|itself)\b|\bspoken of\b|\bin plain words\b",
    r"\b(?:is|are|was|were|be) told (?!apart\b|that\b|to\b)|\btells? (?:[a-z']+ ){0,3}labels\b|\btells? of\b",
    r"\b(?:is|are|was|were) (?:only )?believed\b",
    r"\bwhat (?:a job|ray|was|[a-z]+) is asked\b|\basks? in a row\b|\b(?:whoever|whatever) asks\b|\bthey are asked\b",
    r"\bwhoever\b",
    r"\bto nobody\b|\bnobody (?:at once|can know|takes|scored|gave|clicked)\b",
    r"\b(?:has|have|had) (?:a|no) say\b",
    r"\b(?:device's|own) (?:affair|business)\b",
    r"\bknows? (?:nothing )?of\b",
    r"\btakes? no notice\b|\bpretends? to be\b",
    r"\bshould lose\b|\bto be beaten\b|\bmay cost at most\b",
    r"\bwould have it\b|\bfor people\b|\ba person has to\b|\bneeds? a person\b",
    # existence
    r"\bwhat (?:is|was) there\b|\bnot there yet\b|\bone that is there\b",
    r"\bnothing else to learn\b",
    r"(?<!there )\b(?:is|are|was|were) no (?!longer\b|more\b|less\b|fewer\b|better\b|worse\b|other\b)[a-z]+",
    r"\bis none\b|\bare none\b|\bnone but\b|\bno other than\b",
    r"\bwhere there (?:is|are) (?:any|one|none)\b|\bas far as there (?:is|are)\b",
    r"\bwhat (?:becomes|became) of\b|\bmakes? [a-z]+ of (?:them|it)\b",
    r"\bas (?:it|they) (?:came|comes?)\b|\bas SAM-2 gave\b",
    r"\bas they are met\b|\bhas been met\b",
    r"\bin its middle\b|\bat its middle\b",
    r"\b(?:is|are|were|was) had\b|\bcan be known\b",
    r"\bout of nothing\b|\bnearly is one\b",
    # quantity, time and comparison
    r"\bso many (?:more|steps|gray|teachers|measured|of)\b|\bso much of (?:what|it)\b|\bevery so many\b",
    r"\bso (?:short|long|large|small|late|few|old|big|busy) an? [a-z]+|\bso far back\b",
    r"\b(?:written|last|first|longest|most) (?:last )?of all\b",
    r"\b[0-9a-z]+ in all\b(?=[\s]*[;:.,)])",
    r"\bby and by\b|\bbit by bit\b|\bas long as it takes\b",
    r"\banew\b",
    r"\bbesides\b(?! the\b)",
    r"\bhalf as large again\b|\bas large again\b",
    r"\bto all sides\b",
    # transfer and judgement
    r"\bleave for\b",
    r"\bhand(?:s|ed)? (?:in|out|back)\b|\bgives? back\b|\bgave back\b",
    r"\bbrings? (?:by itself|nothing|in)\b|\bbrought (?:nothing|a gain)\b|\bwhat (?:each [a-z]+|[a-z ]{3,30}) brings\b",
    r"\bholds? (?:it|them|ours|the [a-z]+)? ?to (?:its|the|their) (?:promises?|code)\b",
    r"\bwhat (?:[a-z]+ ){0,3}(?:needs|says|holds|makes|scored|knows|keeps|wants) of\b",
    r"\bits like\b|\bothers? looked for\b|\bwhat (?:it|they|each way) reach(?:es)?\b",
    r"\b(?:where|if|is|are|were) wanted\b|\bas wanted\b",
    r"\bdrawn[- ](?:sheep|videos?|meadows?|stud(?:y|ies)|clips?|animals?|scenes?)\b|\bdraws a meadow\b",
    r"\bthe other way (?:round|about)\b|\bhow far this holds\b",
)
