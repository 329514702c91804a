// tubesock: the front door.

export * from './client/index.js'
export * from './server/index.js'
export * from './udp/index.js'
