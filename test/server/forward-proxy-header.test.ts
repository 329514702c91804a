import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { type Duplex, duplexPair } from 'node:stream'
import { describe, expect, it, vi } from 'vitest'
import type { ForwardServer, ForwardServerOptions } from '../../src/server/index.js'
import { testDirectory } from '../interop/peers.js'
import { newTarget, startForward } from '../support/forward-server.js'
import { RawClient } from '../support/raw-client.js'
import { cleanup } from '../support/servers.js'

describe('the PROXY protocol to a target', () => {
  const word = (value = 0): string => value.toString(16).padStart(4, '0')

  /** Everything that a target gets, as bytes. */
  async function received(
    options: Omit<ForwardServerOptions, 'target'>,
    dial: (server: ForwardServer) => Promise<Duplex> | Duplex,
  ) {
    const target = await newTarget((socket) => socket.end())
    const fixture = await startForward({ target: { host: '127.0.0.1', port: target.port }, ...options })
    const closing = fixture.closed()
    const stream = await dial(fixture.server)
    cleanup(() => stream.destroy())
    stream.resume()
    stream.end('hello')
    const bytes = await new RawClient(await target.connection()).readToEnd()
    return { bytes, info: await closing }
  }

  async function tcp(server: ForwardServer, host: string, onPort?: (port: number) => void): Promise<Socket> {
    const { port } = await server.listen({ host, port: 0 })
    onPort?.(port)
    const socket = connect({ host, port, ...(host === '127.0.0.1' ? { localAddress: '127.0.0.5' } : {}) })
    await once(socket, 'connect')
    return socket
  }

  it('S138 version 1 is one line: client, and where it connected to', async () => {
    for (const [host, family, client] of [
      ['127.0.0.1', 'TCP4', '127.0.0.5'],
      ['::1', 'TCP6', '::1'],
    ] as const) {
      let port = 0
      const { bytes, info } = await received({ sendProxyHeader: 1 }, (server) =>
        tcp(server, host, (listening) => {
          port = listening
        }),
      )
      const line = `PROXY ${family} ${client} ${host} ${info.session.clientPort} ${port}\r\n`
      expect(String(bytes)).toBe(`${line}hello`)
      // What is said of the client is none of its bytes.
      expect(info).toMatchObject({ bytesUp: 5, reason: 'end' })
    }
  })

  it('S138 version 2 is the signature, the family, and both ends', async () => {
    const signature = '0d0a0d0a000d0a515549540a'
    for (const [host, head, ends] of [
      ['127.0.0.1', '2111000c', '7f0000057f000001'],
      ['::1', '21210024', `${'0'.repeat(31)}1${'0'.repeat(31)}1`],
    ] as const) {
      let port = 0
      const { bytes, info } = await received({ sendProxyHeader: 2 }, (server) =>
        tcp(server, host, (listening) => {
          port = listening
        }),
      )
      const ports = `${word(info.session.clientPort)}${word(port)}`
      expect(bytes.toString('hex')).toBe(`${signature}${head}${ends}${ports}${Buffer.from('hello').toString('hex')}`)
    }
  })

  it('S138 a client of a Unix socket is UNKNOWN', async () => {
    const unix = async (server: ForwardServer): Promise<Socket> => {
      const path = join(testDirectory(), 'door')
      await server.listen({ path })
      return connect(path)
    }
    expect(String((await received({ sendProxyHeader: 1 }, unix)).bytes)).toBe('PROXY UNKNOWN\r\nhello')
    const { bytes } = await received({ sendProxyHeader: 2 }, unix)
    expect(bytes.toString('hex')).toBe(`0d0a0d0a000d0a515549540a21000000${Buffer.from('hello').toString('hex')}`)
  })

  it('S138 a client whose address alone is known is told, with zeros for where it connected to', async () => {
    const handled =
      (clientAddress: string | undefined) =>
      (server: ForwardServer): Duplex => {
        const [near, far] = duplexPair()
        server.handle(near, { clientAddress, clientPort: 7 })
        return far
      }
    const told = async (clientAddress: string | undefined) =>
      String((await received({ sendProxyHeader: 1 }, handled(clientAddress))).bytes)
    expect(await told('192.0.2.5')).toBe('PROXY TCP4 192.0.2.5 0.0.0.0 7 0\r\nhello')
    expect(await told('2001:db8::5')).toBe('PROXY TCP6 2001:db8::5 :: 7 0\r\nhello')
    expect(await told(undefined)).toBe('PROXY UNKNOWN\r\nhello')
  })

  it.each([1, 2] as const)('S138 what a proxy in front told is passed on (version %s)', async (version) => {
    const first = await received({ sendProxyHeader: version, proxyProtocol: ['127.0.0.5'] }, async (server) => {
      const socket = await tcp(server, '127.0.0.1')
      socket.write('PROXY TCP4 192.0.2.5 192.0.2.1 5000 1080\r\n')
      return socket
    })
    expect(first.info.session).toMatchObject({ clientAddress: '192.0.2.5', clientPort: 5_000 })
    if (version === 1) expect(String(first.bytes)).toMatch(/^PROXY TCP4 192\.0\.2\.5 127\.0\.0\.1 5000 \d+\r\nhello$/)
    else expect(first.bytes.subarray(16, 20).toString('hex')).toBe('c0000205')
  })

  it('S138 health checks of a proxy in front are no errors: the target sees a client that says nothing', async () => {
    const target = await newTarget((socket) => socket.resume().on('end', () => socket.end()))
    const fixture = await startForward({
      target: { host: '127.0.0.1', port: target.port },
      proxyProtocol: ['127.0.0.1'],
      sendProxyHeader: 1,
    })
    for (const [header, reason] of [
      ['', 'empty'],
      ['PROXY UNKNOWN\r\n', 'end'],
      ['\r\n\r\n\0\r\nQUIT\n\x20\0\0\0', 'end'],
    ] as const) {
      const closing = fixture.closed()
      const client = await fixture.client()
      client.stream.end(Buffer.from(header, 'latin1'))
      expect(await closing).toMatchObject({ reason, error: undefined })
    }
    await vi.waitFor(() => expect(target.accepted).toBe(2), 10_000)
    expect([fixture.errors, fixture.denied]).toEqual([[], []])
  })
})
