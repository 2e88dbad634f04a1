-- How many statements this session has sent so far, this one included.
SHOW SESSION STATUS LIKE 'Questions';
