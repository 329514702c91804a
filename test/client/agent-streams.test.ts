import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { ClientRequest, RequestListener } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { text } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { SocksAgent, type SocksAgentOptions } from '../../src/client/agent.js'
import { settlesAt } from '../support/descriptors.js'
import { SUCCESS, withProxy } from '../support/scripted-proxy.js'
import { cleanup, startServer } from '../support/servers.js'
import { CERTIFICATE } from './certificate.js'
import { echo, type HttpTarget, responseOf, start, startHttp } from './http-target.js'

const MEGABYTE = 1_048_576

async function through(listener: RequestListener, scheme: string, options: SocksAgentOptions = {}) {
  const target = await startHttp(listener, { secure: scheme === 'https' })
  const { port } = await startServer()
  const agent = new SocksAgent(`socks5h://127.0.0.1:${port}`, { keepAlive: true, ca: CERTIFICATE, ...options })
  cleanup(() => agent.destroy())
  return { target, agent, url: `${scheme}://127.0.0.1:${target.port}/` }
}

const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

describe.each(['http', 'https'])('%s', (scheme) => {
  it('carries megabytes both ways at once, byte for byte, and the connection is reused', async () => {
    const { agent, url, target } = await through((request, response) => request.pipe(response), scheme)
    for (const _ of [1, 2]) {
      const body = randomBytes(8 * MEGABYTE)
      const request = start(url, { agent, method: 'POST' })
      const response = responseOf(request)
      request.end(body)
      const parts: Buffer[] = []
      for await (const part of await response) parts.push(part)
      expect(digest(Buffer.concat(parts))).toBe(digest(body))
    }
    expect(target.sockets).toHaveLength(1)
  })

  it('lets a slow reader hold the target back, and loses nothing', async () => {
    const body = randomBytes(64 * MEGABYTE)
    let written = 0
    const { agent, url } = await through(async (_request, response) => {
      for (let offset = 0; offset < body.length; offset += MEGABYTE) {
        written = offset
        if (!response.write(body.subarray(offset, offset + MEGABYTE))) await once(response, 'drain')
      }
      response.end()
    }, scheme)
    const request = start(url, { agent })
    const response = responseOf(request)
    request.end()
    const readable = await response
    await once(readable, 'readable')
    // Nobody reads: the target comes to a stop long before its end.
    let last = -1
    while (last !== written) {
      last = written
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    expect(written).toBeLessThan(60 * MEGABYTE)
    const hash = createHash('sha256')
    for await (const part of readable) hash.update(part)
    expect(hash.digest('hex')).toBe(digest(body))
  })

  it('lets a slow target hold the sender back', async () => {
    const release: (() => void)[] = []
    const { agent, url } = await through((request, response) => {
      release.push(() => {
        const hash = createHash('sha256')
        request.on('data', (chunk) => hash.update(chunk)).on('end', () => response.end(hash.digest('hex')))
      })
    }, scheme)
    const body = randomBytes(MEGABYTE)
    const hash = createHash('sha256')
    const request = start(url, { agent, method: 'PUT' })
    const response = responseOf(request)
    let sent = 0
    do {
      hash.update(body)
      if (++sent === 256) throw new Error('nothing holds us back')
    } while (request.write(body) || (await hasDrained(request)))
    request.end()
    release[0]?.()
    expect(await text(await response)).toBe(hash.digest('hex'))
  })

  it('waits for 100-continue', async () => {
    const { agent, url } = await through(async (request, response) => {
      response.end(`got ${await text(request)}`)
    }, scheme)
    const request = start(url, { agent, method: 'POST', headers: { expect: '100-continue' } })
    const response = responseOf(request)
    request.flushHeaders()
    await once(request, 'continue')
    request.end('the body')
    expect(await text(await response)).toBe('got the body')
  })

  it('hands over the stream of an upgrade, half-close included', async () => {
    const { agent, url, target } = await through(echo, scheme)
    upgradeToEcho(target)
    const request = start(url, { agent, headers: { connection: 'Upgrade', upgrade: 'echo' } })
    request.end()
    const [, socket, head]: [unknown, Duplex, Buffer] = (await once(request, 'upgrade')) as never // as documented
    expect(String(head)).toBe('first')
    const answer = text(socket)
    socket.write(' second')
    socket.end(' third')
    expect(await answer).toBe(' second third')
    expect(await settlesAt(() => Object.keys(agent.sockets).length, 0)).toBe(0)
  })

  it('hands over the stream of a CONNECT', async () => {
    const { agent, url, target } = await through(echo, scheme)
    target.server.on('connect', (request, socket) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      socket.end(`connected to ${request.url}`)
    })
    const request = start(url, { agent, method: 'CONNECT', path: 'inner.example:443' })
    request.end()
    const [response, socket, head] = await once(request, 'connect')
    expect(response.statusCode).toBe(200)
    expect(String(head) + (await text(socket))).toBe('connected to inner.example:443')
  })

  it('carries a WebSocket', async () => {
    const { agent, url, target } = await through(echo, scheme)
    const sockets = new WebSocketServer({ server: target.server })
    sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)))
    const socket = new WebSocket(url.replace('http', 'ws'), { agent, ca: CERTIFICATE })
    await once(socket, 'open')
    const message = randomBytes(300_000)
    socket.send(message)
    const [answer] = await once(socket, 'message')
    expect(digest(answer)).toBe(digest(message))
    socket.close()
    await once(socket, 'close')
  })

  it('tells when it is connected', async () => {
    const { agent, url } = await through(echo, scheme)
    const request = start(url, { agent })
    const [socket]: [Socket] = (await once(request, 'socket')) as never // as documented
    const response = responseOf(request)
    const events: string[] = []
    for (const name of ['connect', 'ready', 'secureConnect', 'lookup']) socket.on(name, () => events.push(name))
    request.end()
    ;(await response).resume()
    expect(events).toEqual(scheme === 'https' ? ['secureConnect'] : ['connect', 'ready'])
    expect(socket.connecting).toBe(false)
  })

  it('a target that ends in the middle of a body is an aborted response', async () => {
    const { agent, url } = await through((_request, response) => {
      response.writeHead(200, { 'content-length': 100 })
      response.write('half', () => response.destroy())
    }, scheme)
    const request = start(url, { agent })
    const response = responseOf(request)
    request.end()
    await expect(text(await response)).rejects.toMatchObject({ code: 'ECONNRESET' })
  })
})

describe('what a target says', () => {
  it('in one segment with the reply of the proxy is not lost', async () => {
    await withProxy(
      async (peer) => {
        await peer.greet()
        await peer.readRequest()
        peer.send(Buffer.concat([SUCCESS, Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly')]))
      },
      async (proxy) => {
        const request = start('http://target.example/', { agent: new SocksAgent(proxy.url()) })
        const response = responseOf(request)
        request.end()
        expect(await text(await response)).toBe('early')
      },
    )
  })

  it('head and body of a request go in one write', async () => {
    const seen: string[] = []
    await withProxy(
      async (peer) => {
        await peer.open()
        await peer.read(1)
        seen.push(String(peer.unread))
        peer.send(Buffer.from('HTTP/1.1 204 No\r\n\r\n'))
      },
      async (proxy) => {
        const request = start('http://target.example/', { agent: new SocksAgent(proxy.url()), method: 'POST' })
        const response = responseOf(request)
        request.end('the body')
        ;(await response).resume()
      },
    )
    expect(seen[0]).toMatch(/^OST \/ HTTP\/1\.1\r\n.*the body/s)
  })
})

/** Whether a request that took no more has room again within a while. */
function hasDrained(request: ClientRequest): Promise<boolean> {
  return new Promise((resolve) => {
    const settle = (value: boolean) => {
      clearTimeout(timer)
      request.off('drain', onDrain)
      resolve(value)
    }
    const onDrain = () => settle(true)
    const timer = setTimeout(() => settle(false), 300)
    request.once('drain', onDrain)
  })
}

function upgradeToEcho({ server }: HttpTarget): void {
  server.on('upgrade', (_request, socket: Duplex) => {
    socket.write('HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nfirst')
    socket.pipe(socket)
  })
}
