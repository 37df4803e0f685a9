/** A child process that lives and says nothing. */
process.on('message', () => {})
