-- The names of the privileges that this release knows; one that it doesn't know is neither needed nor accepted.
SHOW PRIVILEGES;
