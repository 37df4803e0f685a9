/** In the place of a search thread. */
throw new Error('nothing can be done')
