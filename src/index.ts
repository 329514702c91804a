// tubesock: the front door.

export * from './server/index.js'
