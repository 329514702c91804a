// @ts-check
// The other end of the tunnels, a worker thread of the load: echoes, takes uploads and checks them, or sends downloads.
import { once } from 'node:events'
import { createServer } from 'node:net'
import { parentPort } from 'node:worker_threads'
import { beginOf, belongsAt, bytesAt, CHUNK } from './pattern.mjs'

// More than one, lest connections that are over but not yet forgotten use up the ports between two addresses.
const LISTENERS = 8

/** What a tunnel begins with: E echoes, U and D are followed by the number of the stream, four bytes. */
const HELLO = { echo: 0x45, upload: 0x55, download: 0x44 }

/** @typedef {{ direction: 'up' | 'down', bytes: number, corrupt: number, ended: boolean }} Stream */

/** @type {Map<number, Stream>} */
const streams = new Map()
let received = 0
let isStopping = false

const servers = Array.from({ length: LISTENERS }, () => createServer({ allowHalfOpen: true, noDelay: true }, accept))
for (const server of servers) server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 })
await Promise.all(servers.map((server) => once(server, 'listening')))

const port = /** @type {import('node:worker_threads').MessagePort} */ (parentPort)
port.on('message', (name) => {
  if (name === 'stop') isStopping = true
  port.postMessage({ name, value: name === 'received' ? received : name === 'streams' ? [...streams] : undefined })
})
port.postMessage({ name: 'ready', value: servers.map((server) => Reflect.get(Object(server.address()), 'port')) })

/** @param {import('node:net').Socket} socket */
function accept(socket) {
  // Of a tunnel that breaks, its other end tells.
  socket.on('error', () => {})
  let hello = Buffer.alloc(0)
  socket.on('data', function read(chunk) {
    hello = Buffer.concat([hello, chunk])
    const [kind] = hello
    if (kind === HELLO.echo) {
      socket.off('data', read)
      echo(socket, hello)
    } else if (hello.length >= 5) {
      socket.off('data', read)
      const stream = hello.readUInt32BE(1)
      if (kind === HELLO.upload) take(socket, stream, hello.subarray(5))
      else if (kind === HELLO.download) send(socket, stream, hello.length > 5)
      else socket.destroy()
    }
  })
}

/** @param {import('node:net').Socket} socket @param {Buffer} first */
function echo(socket, first) {
  /** @param {Buffer} chunk */
  const back = (chunk) => {
    if (socket.write(chunk)) return
    socket.pause()
    socket.once('drain', () => socket.resume())
  }
  socket.on('data', back)
  socket.on('end', () => socket.end())
  back(first)
}

/** @param {import('node:net').Socket} socket @param {number} number @param {Buffer} first */
function take(socket, number, first) {
  const begin = beginOf(number, 'up')
  /** @type {Stream} */
  const stream = { direction: 'up', bytes: 0, corrupt: 0, ended: false }
  streams.set(number, stream)
  /** @param {Buffer} chunk */
  const check = (chunk) => {
    const { length } = chunk
    if (!belongsAt(chunk, length, begin + stream.bytes)) stream.corrupt++
    stream.bytes += length
    received += length
  }
  socket.on('data', check)
  socket.on('end', () => {
    stream.ended = true
    socket.end()
  })
  check(first)
}

/** @param {import('node:net').Socket} socket @param {number} number @param {boolean} mayBegin */
function send(socket, number, mayBegin) {
  const begin = beginOf(number, 'down')
  /** @type {Stream} */
  const stream = { direction: 'down', bytes: 0, corrupt: 0, ended: false }
  streams.set(number, stream)
  const fill = () => {
    while (!isStopping) {
      const piece = bytesAt(begin + stream.bytes, CHUNK)
      stream.bytes += CHUNK
      if (!socket.write(piece)) return
    }
    if (stream.ended) return
    stream.ended = true
    socket.end()
  }
  socket.on('drain', fill)
  // A byte more than the hello: by then all tunnels are open, which is slow among streams under way.
  if (mayBegin) fill()
  else socket.once('data', fill)
  socket.resume()
}
