import { once } from 'node:events'
import type { ClientRequest } from 'node:http'
import { describe, expect, it } from 'vitest'
import { SocksAgent } from '../../src/client/agent.js'
import { deferred } from '../support/deferred.js'
import { descriptors, settlesAt } from '../support/descriptors.js'
import { hex, type Peer, type Script, type ScriptedProxy, SUCCESS, withProxy } from '../support/scripted-proxy.js'
import { codeOf } from '../support/servers.js'
import { errorOf, start } from './http-target.js'
import { checkHygiene, MARK } from './hygiene.js'

const schemes = ['http', 'https'] as const

/** A proxy that stops talking at some point of the handshake. */
const stalls: { readonly [where: string]: Script } = {
  'before the method': () => {},
  'before the reply': async (peer) => {
    await peer.greet()
    await peer.readRequest()
  },
  'in the middle of the reply': async (peer) => {
    await peer.greet()
    await peer.readRequest()
    peer.send(SUCCESS.subarray(0, 5))
  },
}

/** A request in the handshake with a proxy that has stopped talking. */
async function inHandshake<T>(
  scheme: string,
  where: string,
  use: (request: ClientRequest, proxy: ScriptedProxy, agent: SocksAgent) => Promise<T>,
  options: object = {},
): Promise<T> {
  return withProxy(stalls[where] ?? (() => {}), async (proxy) => {
    const agent = new SocksAgent(proxy.url(), { keepAlive: true })
    const request = start(`${scheme}://target.example/`, { agent, ...options }).end()
    await proxy.connections(1)
    return use(request, proxy, agent)
  })
}

/** Rejects unless it is settled within a second. */
async function withinOneSecond<T>(promise: Promise<T>): Promise<T> {
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(new Error('not within a second')), 1_000)
  const tooLate = once(late.signal, 'abort').then(() => Promise.reject(late.signal.reason))
  return Promise.race([promise, tooLate]).finally(() => clearTimeout(timer))
}

const places = schemes.flatMap((scheme) => Object.keys(stalls).map((where) => [scheme, where] as const))

describe.each(places)('C142 %s, in a handshake that stalls %s', (scheme, where) => {
  it('destroying the request gives it its error, and the proxy sees its connection close, within a second', async () => {
    await inHandshake(scheme, where, async (request, proxy, agent) => {
      const error = errorOf(request)
      request.destroy()
      expect(codeOf(await withinOneSecond(error))).toBe('ECONNRESET')
      await withinOneSecond(proxy.peers[0]?.closed ?? Promise.reject())
      expect(Object.keys(agent.sockets)).toEqual([])
    })
  })

  it('aborting its signal does the same', async () => {
    const aborter = new AbortController()
    const use = async (request: ClientRequest, proxy: ScriptedProxy) => {
      const error = errorOf(request)
      aborter.abort()
      expect(codeOf(await withinOneSecond(error))).toBe('ABORT_ERR')
      await withinOneSecond(proxy.peers[0]?.closed ?? Promise.reject())
    }
    await inHandshake(scheme, where, use, { signal: aborter.signal })
  })

  it('agent.destroy() ends it', async () => {
    await inHandshake(scheme, where, async (request, proxy, agent) => {
      const error = errorOf(request)
      agent.destroy()
      expect(codeOf(await withinOneSecond(error))).toBe('ECONNRESET')
      await withinOneSecond(proxy.peers[0]?.closed ?? Promise.reject())
    })
  })

  it('the timeout of the request runs', async () => {
    const use = async (request: ClientRequest, proxy: ScriptedProxy) => {
      const error = errorOf(request)
      await withinOneSecond(once(request, 'timeout'))
      request.destroy(new Error('waited enough'))
      expect(await withinOneSecond(error)).toMatchObject({ message: 'waited enough' })
      await withinOneSecond(proxy.peers[0]?.closed ?? Promise.reject())
    }
    await inHandshake(scheme, where, use, { timeout: 50 })
  })

  it('setTimeout of the socket runs', async () => {
    await inHandshake(scheme, where, async (request) => {
      const [socket] = request.socket ? [request.socket] : await once(request, 'socket')
      socket.setTimeout(50)
      await withinOneSecond(once(socket, 'timeout'))
      const error = errorOf(request)
      request.destroy()
      await error
    })
  })
})

describe.each(schemes)('%s', (scheme) => {
  const agentFor = (url: string, options: object = {}) => new SocksAgent(url, { keepAlive: true }, options)

  it('a request that is destroyed before it was told anything opens nothing for long', async () => {
    await withProxy(
      () => {},
      async (proxy) => {
        const request = start(`${scheme}://target.example/`, { agent: agentFor(proxy.url()) })
        const error = errorOf(request)
        request.destroy()
        expect(codeOf(await error)).toBe('ECONNRESET')
        expect(await settlesAt(() => proxy.peers.filter(({ socket }) => !socket.destroyed).length, 0)).toBe(0)
      },
    )
  })

  it('a request that is destroyed when its tunnel is open closes it, in the TLS handshake, too', async () => {
    const spoken = deferred()
    const script: Script = async (peer) => {
      await peer.open()
      await peer.read(1)
      spoken.resolve()
    }
    await withProxy(script, async (proxy) => {
      const request = start(`${scheme}://target.example/`, { agent: agentFor(proxy.url()) }).end()
      await spoken.promise
      const error = errorOf(request)
      request.destroy()
      expect(codeOf(await withinOneSecond(error))).toBe('ECONNRESET')
      await withinOneSecond(proxy.peers[0]?.closed ?? Promise.reject())
    })
  })

  it('timeoutMs of the client ends the handshake with its error', async () => {
    await withProxy(
      () => {},
      async (proxy) => {
        const agent = agentFor(proxy.url(), { timeoutMs: 50 })
        const error = await errorOf(start(`${scheme}://target.example/`, { agent }).end())
        expect(error).toMatchObject({ code: 'ERR_SOCKS_TIMEOUT', hop: 0 })
        await withinOneSecond(proxy.peers[0]?.closed ?? Promise.reject())
      },
    )
  })

  it.each<[string, Script, string]>([
    ['refuses', (peer) => refuse(peer, 5), 'ERR_SOCKS_CONNECTION_REFUSED'],
    ['denies', (peer) => refuse(peer, 2), 'ERR_SOCKS_NOT_ALLOWED'],
    ['knows none of our methods', async (peer) => void (await peer.greet(0xff)), 'ERR_SOCKS_NO_ACCEPTABLE_METHOD'],
    ['is an HTTP server', (peer) => peer.send(Buffer.from(`HTTP/1.1 400 ${MARK}\r\n\r\n`)), 'ERR_SOCKS_PEER_IS_HTTP'],
    ['speaks TLS', (peer) => peer.send('15 03 01 00 02 02 46'), 'ERR_SOCKS_PEER_IS_TLS'],
    ['speaks nonsense', (peer) => peer.send(Buffer.from(`\x99${MARK}`, 'latin1')), 'ERR_SOCKS_BAD_VERSION'],
    ['closes at once', (peer) => peer.end(), 'ERR_SOCKS_CONNECTION_CLOSED'],
    ['resets', greetAndReset, 'ERR_SOCKS_CONNECTION_CLOSED'],
    ['answers with half a reply', halfReply, 'ERR_SOCKS_CONNECTION_CLOSED'],
    ['answers with an address of no type', badAddress, 'ERR_SOCKS_BAD_ADDRESS_TYPE'],
  ])('a proxy that %s: its error is the request’s, once', async (_what, script, code) => {
    await withProxy(script, async (proxy) => {
      const agent = agentFor(proxy.url())
      const error = await errorOf(start(`${scheme}://target.example/`, { agent }).end())
      expect(error).toMatchObject({ name: 'SocksError', code })
      checkHygiene(error)
      expect(await settlesAt(() => Object.keys(agent.sockets).length, 0)).toBe(0)
    })
  })

  it('a proxy that is not there', async () => {
    const url = await withProxy(
      () => {},
      async (proxy) => proxy.url(),
    )
    const error = await errorOf(start(`${scheme}://target.example/`, { agent: agentFor(url) }).end())
    expect(codeOf(error)).toBe('ERR_SOCKS_PROXY_UNREACHABLE')
  })

  it.each<[string, (peer: Peer) => unknown]>([
    ['closes', (peer) => peer.end()],
    ['resets', (peer) => peer.reset()],
    ['speaks nonsense', (peer) => peer.send(Buffer.from(`${MARK}\r\n\r\n`))],
  ])('a target that %s as soon as the tunnel is open', async (_what, then) => {
    const script: Script = async (peer) => {
      await peer.open()
      then(peer)
    }
    await withProxy(script, async (proxy) => {
      const agent = agentFor(proxy.url())
      const error = await errorOf(start(`${scheme}://target.example/`, { agent }).end())
      expect(codeOf(error)).toBeTypeOf('string')
      expect(await settlesAt(() => Object.keys(agent.sockets).length, 0)).toBe(0)
    })
  })

  it('a hundred requests that are destroyed at any moment leave no descriptor', async () => {
    await withProxy(stalls['before the reply'] ?? (() => {}), async (proxy) => {
      const agent = agentFor(proxy.url())
      const before = descriptors()
      const requests = Array.from({ length: 100 }, () => start(`${scheme}://target.example/`, { agent }).end())
      const errors = requests.map(errorOf)
      for (const [index, request] of requests.entries()) {
        if (index % 10 === 0) await proxy.connections(index + 1)
        request.destroy()
      }
      await Promise.all(errors)
      expect(await settlesAt(descriptors, before)).toBe(before)
    })
  })

  it('what is queued behind a handshake that fails gets a handshake of its own', async () => {
    let turn = 0
    const script: Script = (peer) => refuse(peer, ++turn === 1 ? 5 : 4)
    await withProxy(script, async (proxy) => {
      const agent = new SocksAgent(proxy.url(), { keepAlive: true, maxSockets: 1 })
      const requests = [1, 2].map(() => start(`${scheme}://target.example/`, { agent }).end())
      const codes = (await Promise.all(requests.map(errorOf))).map(codeOf)
      expect(codes).toEqual(['ERR_SOCKS_CONNECTION_REFUSED', 'ERR_SOCKS_HOST_UNREACHABLE'])
    })
  })
})

async function refuse(peer: Peer, code: number): Promise<void> {
  await peer.greet()
  await peer.readRequest()
  peer.send(Buffer.concat([Uint8Array.of(5, code), SUCCESS.subarray(2)]))
}

async function greetAndReset(peer: Peer): Promise<void> {
  await peer.greet()
  peer.reset()
}

async function halfReply(peer: Peer): Promise<void> {
  await peer.greet()
  await peer.readRequest()
  peer.send(SUCCESS.subarray(0, 7))
  peer.end()
}

async function badAddress(peer: Peer): Promise<void> {
  await peer.greet()
  await peer.readRequest()
  peer.send(hex('05 00 00 09 01 02 03 04 05 06'))
}
