import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect as connectTls, TLSSocket } from 'node:tls'
import { describe, expect, it } from 'vitest'
import { SocksClient } from '../../src/client/client.js'
import { type Peer, SUCCESS, withProxy } from '../support/scripted-proxy.js'
import { CERTIFICATE, PRIVATE_KEY } from './certificate.js'

const BANNER = 'SSH-2.0-banner\r\n'
const target = { host: 'target.example', port: 22 }

/** Grants the request with the banner glued to the reply, then ends. */
async function glued(peer: Peer): Promise<void> {
  await peer.greet()
  await peer.readRequest()
  peer.send(Buffer.concat([SUCCESS, Buffer.from(BANNER)]))
  peer.end()
}

type Reader = (socket: Socket) => Promise<string>

const readers: readonly (readonly [string, Reader])[] = [
  [
    "on('data') alone",
    async (socket) => {
      let text = ''
      socket.on('data', (chunk) => {
        text += chunk
      })
      await once(socket, 'end')
      return text
    },
  ],
  [
    'for await',
    async (socket) => {
      let text = ''
      for await (const chunk of socket) text += chunk
      return text
    },
  ],
  [
    "'readable' and read()",
    async (socket) => {
      let text = ''
      socket.on('readable', () => {
        for (let chunk = socket.read(); chunk !== null; chunk = socket.read()) text += chunk
      })
      await once(socket, 'end')
      return text
    },
  ],
  ['pipe', async (socket) => Buffer.concat(await socket.pipe(new PassThrough()).toArray()).toString()],
  [
    'resume() and a listener in the same turn',
    async (socket) => {
      socket.resume()
      const [chunk] = await once(socket, 'data')
      return String(chunk)
    },
  ],
]

describe('a banner glued to the reply', () => {
  it.each(readers)('C65 is there for %s, 50 ms later', async (_name, read) => {
    await withProxy(glued, async (proxy) => {
      const { socket } = await SocksClient.connect({ proxy: proxy.url(), ...target })
      expect(socket.readableFlowing).toBe(null)
      expect(socket.isPaused()).toBe(false)
      // Long enough for everything to arrive and be lost, were it flowing.
      await sleep(50)
      expect(socket.readableFlowing).toBe(null)
      expect(await read(socket)).toBe(BANNER)
      socket.destroy()
    })
  })

  it('C65 is there for http.get with createConnection, 50 ms later', async () => {
    const response = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok'
    const script = async (peer: Peer): Promise<void> => {
      await peer.greet()
      await peer.readRequest()
      // An answer before the question: what a parser gets must not depend on when it listens.
      peer.send(Buffer.concat([SUCCESS, Buffer.from(response)]))
    }
    await withProxy(script, async (proxy) => {
      const { socket } = await SocksClient.connect({ proxy: proxy.url(), ...target })
      await sleep(50)
      const request = get('http://target.example/', { createConnection: () => socket })
      const answer = await new Promise<IncomingMessage>((resolve, reject) => {
        request.on('response', resolve).on('error', reject)
      })
      expect(Buffer.concat(await answer.toArray()).toString()).toBe('ok')
      socket.destroy()
    })
  })

  it('C143 tls.connect({ socket }) 50 ms later: the certificate is judged by the name of the target', async () => {
    const names: unknown[] = []
    const script = async (peer: Peer): Promise<void> => {
      const socket = await peer.open()
      socket.removeAllListeners('data')
      const secure = new TLSSocket(socket, {
        isServer: true,
        key: PRIVATE_KEY,
        cert: CERTIFICATE,
        SNICallback: (name, done) => {
          names.push(name)
          done(null)
        },
      })
      secure.on('error', () => {})
      secure.end(BANNER)
    }
    await withProxy(script, async (proxy) => {
      const { socket } = await SocksClient.connect({ proxy: proxy.url(), ...target })
      await sleep(50)
      const secure = connectTls({ socket, ca: CERTIFICATE, servername: target.host })
      expect(Buffer.concat(await secure.toArray()).toString()).toBe(BANNER)
      expect(names).toEqual([target.host])
      socket.destroy()
    })
  })

  it('C65 TLS bytes that came with the reply reach a TLS socket made 50 ms later', async () => {
    // Only a TLS client speaks first, so here the far end is the client and we are the server.
    const script = async (peer: Peer): Promise<void> => {
      await peer.greet()
      await peer.readRequest()
      const { socket } = peer
      socket.removeAllListeners('data')
      socket.cork()
      socket.write(SUCCESS)
      const secure = connectTls({ socket, ca: CERTIFICATE, servername: target.host })
      secure.on('error', () => {})
      socket.uncork()
      secure.on('secureConnect', () => secure.end(BANNER))
    }
    await withProxy(script, async (proxy) => {
      const { socket } = await SocksClient.connect({ proxy: proxy.url(), ...target })
      await sleep(50)
      const secure = new TLSSocket(socket, { isServer: true, key: PRIVATE_KEY, cert: CERTIFICATE })
      const [chunk] = await once(secure, 'data')
      expect(String(chunk)).toBe(BANNER)
      secure.destroy()
    })
  })
})

describe('the socket that comes back', () => {
  it('is half-open: what the target says after our FIN arrives', async () => {
    const script = async (peer: Peer): Promise<void> => {
      const socket = await peer.open()
      await once(socket, 'end')
      socket.end('after the FIN')
    }
    await withProxy(
      script,
      async (proxy) => {
        const { socket } = await SocksClient.connect({ proxy: proxy.url(), ...target })
        socket.end('question')
        expect(Buffer.concat(await socket.toArray()).toString()).toBe('after the FIN')
      },
      true,
    )
  })

  it('a reset right after success, before anyone listens, does not end the process', async () => {
    const script = async (peer: Peer): Promise<void> => {
      await peer.open()
      // The reset must come behind the reply, not instead of it.
      await peer.read(1)
      peer.reset()
    }
    await withProxy(script, async (proxy) => {
      const { socket } = await SocksClient.connect({ proxy: proxy.url(), ...target })
      expect(socket.eventNames().filter((name) => ['data', 'readable', 'close'].includes(String(name)))).toEqual([])
      socket.write('x')
      // 'close' is the only thing listened for; an unguarded 'error' before it would be uncaught.
      await once(socket, 'close').catch(() => {})
      expect(socket.destroyed).toBe(true)
      expect(socket.errored).toMatchObject({ code: 'ECONNRESET' })
    })
  })
})
