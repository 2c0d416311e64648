"""One file a subject: touches the machine, hands its text to a parser, returns samples."""
