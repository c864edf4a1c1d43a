"""Routes between sites: how an object gets from the site that has it to the site that needs it."""
