import { describe, expect, it } from 'vitest'
import { UdpSocket } from '../../src/udp/socket.js'
import { thrownBy } from '../support/bytes.js'
import { descriptors } from '../support/descriptors.js'
import { cleanup, Peer } from './support.js'

function open(host = '127.0.0.1', port = 0) {
  const received: string[] = []
  const errors: Error[] = []
  const socket = new UdpSocket({
    host,
    port,
    onMessage: (data) => received.push(data.toString()),
    onError: (error) => errors.push(error),
  })
  cleanup(() => socket.close())
  return { socket, received, errors }
}

describe('UdpSocket', () => {
  it('is bound when it exists, or throws what the system says and leaves nothing open', () => {
    const { socket } = open()
    expect(socket.address.port).toBeGreaterThan(0)
    const before = descriptors()
    expect(thrownBy(() => open('127.0.0.1', socket.address.port))).toMatchObject({ code: 'EADDRINUSE' })
    expect(thrownBy(() => open('192.0.2.1'))).toMatchObject({ code: 'EADDRNOTAVAIL' })
    expect(descriptors()).toBe(before)
  })

  it('once it is connected, what others had sent before is dropped, too', async () => {
    const { socket, received } = open()
    const [peer, stranger] = [await Peer.open(), await Peer.open()]
    await stranger.send(Buffer.from('early'), socket.address)
    await socket.connect(peer.address)
    await stranger.send(Buffer.from('late'), socket.address)
    socket.send(Buffer.from('question'))
    const { from } = await peer.next()
    await peer.send(Buffer.from('answer'), { host: '127.0.0.1', port: from.port })
    // Its own socket, to know when the answer has been dealt with.
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
    expect(received).toEqual(['answer'])
  })

  it('asks no resolver: what is no address is an error of the system', async () => {
    const { socket } = open()
    const error = await new Promise((resolve) => socket.send(Buffer.from('x'), 9, 'localhost', resolve))
    expect(error).toMatchObject({ code: 'EINVAL' })
  })

  it('takes nothing that Node would throw for, and nothing after close()', async () => {
    const { socket, received } = open()
    const peer = await Peer.open()
    expect(socket.send(Buffer.from('x'), 0, '127.0.0.1')).toBe(false)
    expect(socket.send(Buffer.from('x'), 65_536, '127.0.0.1')).toBe(false)
    await peer.send(Buffer.from('on its way'), socket.address)
    socket.close()
    socket.close()
    expect(socket.send(Buffer.from('x'), peer.port, '127.0.0.1')).toBe(false)
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
    expect([received, peer.pending]).toEqual([[], 0])
  })
})
