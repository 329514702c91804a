import type { LookupFunction } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { describe, expect, it } from 'vitest'
import { SocksAgent } from '../../src/client/agent.js'
import { userPass } from '../../src/server/index.js'
import { cleanup, codeOf, startServer } from '../support/servers.js'
import { CERTIFICATE, PRIVATE_KEY } from './certificate.js'
import { echo, errorOf, fetchText, responseOf, start, startHttp } from './http-target.js'

/** Every name is this machine. */
const lookup: LookupFunction = (_host, _options, callback) => callback(null, [{ address: '127.0.0.1', family: 4 }])

/** A proxy that counts what each user has opened. */
async function startCounted() {
  const opened = new Map<string, string[]>()
  const fixture = await startServer({ auth: userPass(() => true), lookup })
  fixture.server.on('established', ({ identity, destination }) => {
    const user = String(identity.username)
    opened.set(user, [...(opened.get(user) ?? []), `${destination.host}:${destination.port}`])
  })
  return { ...fixture, opened }
}

/** An agent that is destroyed with the test. */
function agentFor(...values: ConstructorParameters<typeof SocksAgent>): SocksAgent {
  const agent = new SocksAgent(...values)
  cleanup(() => agent.destroy())
  return agent
}

/** Keys of all pools, in use or idle. */
function pools(agent: SocksAgent): string[] {
  return [...Object.keys(agent.sockets), ...Object.keys(agent.freeSockets)]
}

describe('keep-alive', () => {
  it('serves a thousand requests on one connection, and listeners do not pile up', async () => {
    const warnings: unknown[] = []
    const onWarning = (warning: unknown) => warnings.push(warning)
    process.on('warning', onWarning)
    cleanup(() => process.off('warning', onWarning))
    for (const secure of [false, true]) {
      const target = await startHttp(echo, { secure })
      const { opened, port } = await startCounted()
      const agent = agentFor(`socks5h://user:@127.0.0.1:${port}`, { keepAlive: true, maxSockets: 1, ca: CERTIFICATE })
      const url = `http${secure ? 's' : ''}://127.0.0.1:${target.port}/`
      const listeners = () => {
        const [socket] = Object.values(agent.freeSockets)[0] ?? []
        return socket?.eventNames().map((name) => [String(name), socket.listenerCount(name)])
      }
      await fetchText(url, { agent })
      const before = listeners()
      for (let count = 1; count < 1_000; count++) await fetchText(url, { agent })
      expect(listeners()).toEqual(before)
      expect(target.sockets).toHaveLength(1)
      expect(opened.get('user')).toHaveLength(1)
    }
    expect(warnings).toEqual([])
  })

  it('without it each request has a connection of its own, which is closed', async () => {
    const target = await startHttp()
    const { opened, port, server } = await startCounted()
    const agent = agentFor(`socks5h://user:@127.0.0.1:${port}`)
    for (const path of ['a', 'b', 'c']) await fetchText(`http://127.0.0.1:${target.port}/${path}`, { agent })
    expect(opened.get('user')).toHaveLength(3)
    while (server.stats().connections > 0) await new Promise((resolve) => server.once('closed', resolve))
    expect(pools(agent)).toEqual([])
  })

  it('makes another connection when the target has closed the idle one', async () => {
    for (const secure of [false, true]) {
      const target = await startHttp(echo, { secure })
      const { opened, port } = await startCounted()
      const agent = agentFor(`socks5h://user:@127.0.0.1:${port}`, { keepAlive: true, ca: CERTIFICATE })
      const url = `http${secure ? 's' : ''}://127.0.0.1:${target.port}/`
      await fetchText(url, { agent })
      const [idle] = Object.values(agent.freeSockets)[0] ?? []
      const closed = new Promise((resolve) => idle?.once('close', resolve))
      target.server.closeIdleConnections()
      await closed
      expect(pools(agent)).toEqual([])
      await fetchText(url, { agent })
      expect(opened.get('user')).toHaveLength(2)
    }
  })

  it('does not keep the process alive for an idle connection', async () => {
    for (const secure of [false, true]) {
      const target = await startHttp(echo, { secure })
      const { port } = await startServer()
      const agent = agentFor(`socks5h://127.0.0.1:${port}`, { keepAlive: true, ca: CERTIFICATE })
      await fetchText(`http${secure ? 's' : ''}://127.0.0.1:${target.port}/`, { agent })
      const [idle] = Object.values(agent.freeSockets)[0] ?? []
      const holding = () => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length
      const before = holding()
      idle?.ref()
      expect(holding()).toBe(before + 1)
      idle?.unref()
      expect(holding()).toBe(before)
    }
  })

  it('maxSockets counts connections whose tunnel is not open yet', async () => {
    const target = await startHttp()
    const { opened, port } = await startCounted()
    const agent = agentFor(`socks5h://user:@127.0.0.1:${port}`, { keepAlive: true, maxSockets: 2 })
    const requests = Array.from({ length: 20 }, () => fetchText(`http://127.0.0.1:${target.port}/`, { agent }))
    expect(Object.values(agent.sockets)[0]).toHaveLength(2)
    await Promise.all(requests)
    expect(opened.get('user')).toHaveLength(2)
  })
})

describe('C134 pools', () => {
  it('never cross credentials or origins', async () => {
    const targets = [await startHttp(), await startHttp()]
    const { opened, port } = await startCounted()
    // Written one after the other, these two are the same text.
    const identities = { 'a:b': ['a%3Ab', 'c'], a: ['a', 'b%3Ac'] }
    const agents = Object.values(identities).map((pair) =>
      agentFor(`socks5h://${pair.join(':')}@127.0.0.1:${port}`, { keepAlive: true }),
    )
    for (let round = 0; round < 50; round++) {
      for (const agent of agents) {
        for (const target of targets) await fetchText(`http://127.0.0.1:${target.port}/`, { agent })
      }
    }
    const origins = targets.map((target) => `127.0.0.1:${target.port}`)
    expect(Object.fromEntries(opened)).toEqual({ 'a:b': origins, a: origins })
    expect(new Set(agents.flatMap(pools)).size).toBe(4)
  })

  it('keep http and https of one host and port apart, and names from the addresses behind them', async () => {
    const target = await startHttp()
    const { opened, port } = await startCounted()
    const agent = agentFor(`socks5h://user:@127.0.0.1:${port}`, { keepAlive: true, ca: CERTIFICATE })
    const hosts = ['target.example', 'localhost', '127.0.0.1']
    for (const host of hosts) await fetchText(`http://${host}:${target.port}/`, { agent })
    // TLS is new on it, whatever idles in the pool of http: what answers is no TLS.
    const request = start(`https://target.example:${target.port}/`, { agent }).end()
    expect(codeOf(await errorOf(request))).not.toBe('ECONNREFUSED')
    expect(opened.get('user')).toEqual([...hosts, 'target.example'].map((host) => `${host}:${target.port}`))
  })

  it('keep requests apart that judge the certificate by themselves', async () => {
    const target = await startHttp(echo, { secure: true })
    const { opened, port } = await startCounted()
    const agent = agentFor(`socks5h://user:@127.0.0.1:${port}`, { keepAlive: true, ca: CERTIFICATE })
    const url = `https://target.example:${target.port}/`
    const judged: string[] = []
    const judge = (host: string) => {
      judged.push(host)
      return undefined
    }
    await fetchText(url, { agent })
    for (const _ of [1, 2]) await fetchText(url, { agent, checkServerIdentity: judge })
    const refuse = () => Object.assign(new Error('not this one'), { code: 'PINNED' })
    expect(codeOf(await errorOf(start(url, { agent, checkServerIdentity: refuse }).end()))).toBe('PINNED')
    // Nodes that know the trouble themselves judge for each request anew; others once for each function.
    expect(new Set(judged)).toEqual(new Set(['target.example']))
    expect(opened.get('user')).toHaveLength(1 + judged.length + 1)
  })

  it('isolate: one connection, one identity; requests on it share it', async () => {
    const target = await startHttp()
    const { opened, port } = await startCounted()
    const agent = agentFor(`socks5h://127.0.0.1:${port}`, { keepAlive: true }, { isolate: true })
    const url = `http://127.0.0.1:${target.port}/`
    await Promise.all([fetchText(url, { agent }), fetchText(url, { agent })])
    for (const _ of [1, 2, 3]) await fetchText(url, { agent })
    expect([...opened.values()].map(({ length }) => length)).toEqual([1, 1])
  })
})

describe('C143 TLS with the target', () => {
  /** What the target and we see of one request. */
  async function see(host: string, options: object = {}, agentOptions: object = {}) {
    const target = await startHttp(echo, { secure: true })
    const { port } = await startServer({ lookup })
    const agent = agentFor(`socks5h://127.0.0.1:${port}`, { ca: CERTIFICATE, ...agentOptions })
    const request = start(`https://${host}:${target.port}/`, { agent, ...options })
    const response = await responseOf(request.end())
    const socket = response.socket as TLSSocket // of https
    const { authorized, alpnProtocol, encrypted, remoteAddress, remotePort } = socket
    const subject = socket.getPeerCertificate().subject.CN
    response.resume()
    return { port, names: target.names, authorized, alpnProtocol, encrypted, remoteAddress, remotePort, subject }
  }

  it('asks for the name of the target, and checks it', async () => {
    const { port, ...seen } = await see('target.example')
    expect(seen).toMatchObject({
      names: ['target.example'],
      authorized: true,
      encrypted: true,
      subject: 'tubesock test',
    })
    // Of the connection, which is to the proxy.
    expect(seen).toMatchObject({ remoteAddress: '127.0.0.1', remotePort: port })
  })

  it('asks for no name where the target is an address, and checks that', async () => {
    expect(await see('127.0.0.1')).toMatchObject({ names: [false], authorized: true })
  })

  it('asks for the name that the caller wants', async () => {
    expect(await see('127.0.0.1', { servername: 'proxy.example' })).toMatchObject({ names: ['proxy.example'] })
    expect(await see('127.0.0.1', {}, { servername: 'proxy.example' })).toMatchObject({ names: ['proxy.example'] })
    // As Node does without a proxy.
    expect(await see('127.0.0.1', { headers: { host: 'target.example:99' } })).toMatchObject({
      names: ['target.example'],
    })
  })

  it('refuses a certificate that is not trusted, or of another name', async () => {
    const target = await startHttp(echo, { secure: true })
    const { port } = await startServer({ lookup })
    const errors = [
      [{}, 'target.example'],
      [{ ca: CERTIFICATE }, 'other.example'],
      [{ ca: CERTIFICATE, minVersion: 'TLSv1.3', maxVersion: 'TLSv1.2' }, 'target.example'],
    ] as const
    const codes = []
    for (const [options, host] of errors) {
      const agent = agentFor(`socks5h://127.0.0.1:${port}`, options)
      codes.push(codeOf(await errorOf(start(`https://${host}:${target.port}/`, { agent }).end())))
    }
    expect(codes.slice(0, 2)).toEqual(['DEPTH_ZERO_SELF_SIGNED_CERT', 'ERR_TLS_CERT_ALTNAME_INVALID'])
    expect(String(codes[2])).toMatch(/^ERR_SSL_/)
  })

  it('takes every option of TLS: of the agent, and of one request', async () => {
    expect(await see('target.example', {}, { ALPNProtocols: ['http/1.1'] })).toMatchObject({ alpnProtocol: 'http/1.1' })
    expect(await see('other.example', { rejectUnauthorized: false })).toMatchObject({ authorized: false })
    expect(await see('other.example', { checkServerIdentity: () => undefined })).toMatchObject({ authorized: true })
  })

  it('sends a certificate of its own', async () => {
    const subjects: unknown[] = []
    const target = await startHttp(
      ({ socket }, response) => {
        const tls = socket as TLSSocket // of https
        subjects.push(tls.getPeerCertificate().subject?.CN)
        response.end()
      },
      { secure: true, requestCert: true },
    )
    const { port } = await startServer({ lookup })
    const agent = agentFor(`socks5h://127.0.0.1:${port}`, { ca: CERTIFICATE, cert: CERTIFICATE, key: PRIVATE_KEY })
    await fetchText(`https://target.example:${target.port}/`, { agent })
    expect(subjects).toEqual(['tubesock test'])
  })

  it('resumes sessions of its own agent, and of no other identity', async () => {
    const target = await startHttp(echo, { secure: true })
    const { port } = await startServer({ auth: userPass(() => true), lookup })
    const resumed = async (agent: SocksAgent) => {
      const response = await responseOf(start(`https://target.example:${target.port}/`, { agent }).end())
      const socket = response.socket as TLSSocket // of https
      // Tickets of TLS 1.3 come after the handshake.
      await new Promise((resolve) => response.resume().once('end', resolve))
      return socket.isSessionReused()
    }
    const url = (user: string) => `socks5h://${user}:@127.0.0.1:${port}`
    const [one, two] = [agentFor(url('one'), { ca: CERTIFICATE }), agentFor(url('two'), { ca: CERTIFICATE })]
    expect([await resumed(one), await resumed(one), await resumed(two), await resumed(two)]).toEqual([
      false,
      true,
      false,
      true,
    ])
    const isolated = agentFor(`socks5h://127.0.0.1:${port}`, { ca: CERTIFICATE }, { isolate: true })
    expect([await resumed(isolated), await resumed(isolated)]).toEqual([false, false])
  })
})
