import { once } from 'node:events'
import { createServer } from 'node:net'
import { describe, expect, it } from 'vitest'
import { SocksClient } from '../../src/client/index.js'
import { cleanup, codeOf, startServer } from '../support/servers.js'
import { refusedPort, startEcho } from '../support/targets.js'

/** A proxy that answers its first bytes with `reply`. Resolves to its URL's authority and the bytes it gets. */
async function startScripted(reply: string) {
  const requests: string[] = []
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', (chunk) => {
      requests.push(chunk.toString('hex'))
      socket.write(Buffer.from(reply, 'hex'))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  cleanup(() => server.close())
  return { authority: `127.0.0.1:${(server.address() as { port: number }).port}`, requests } // it listens
}

const GRANTED = '005a1f907f000001'

describe('SOCKS4', () => {
  it('C131 C132 a literal is plain SOCKS4, a name SOCKS4a, the user the USERID', async () => {
    const { authority, requests } = await startScripted(GRANTED)
    for (const [host, scheme] of [
      ['192.0.2.1', 'socks4'],
      ['192.0.2.1', 'socks4a'],
      ['example.com', 'socks4a'],
    ]) {
      const { socket, bound } = await SocksClient.connect({
        proxy: `${scheme}://me@${authority}`,
        host: String(host),
        port: 80,
      })
      expect(bound).toEqual({ type: 'ipv4', host: '127.0.0.1', port: 8080 })
      socket.destroy()
    }
    const plain = '04010050c0000201 6d6500'.replace(' ', '')
    expect(requests).toEqual([plain, plain, `04010050000000016d6500${Buffer.from('example.com').toString('hex')}00`])
  })

  it('C131 socks4:// looks names up here, and takes an IPv4 address', async () => {
    const { authority, requests } = await startScripted(GRANTED)
    const { socket } = await SocksClient.connect({
      proxy: `socks4://${authority}`,
      host: 'both.example',
      port: 80,
      lookup: (_name, _options, callback) =>
        callback(null, [
          { address: '2001:db8::1', family: 6 },
          { address: '192.0.2.9', family: 4 },
        ]),
    })
    socket.destroy()
    expect(requests).toEqual(['04010050c000020900'])
  })

  it('C131 an IPv6 target is refused before any I/O, at whichever hop', async () => {
    const refused = SocksClient.connect({ proxy: 'socks4a://127.0.0.1:1', host: '::1', port: 80 })
    await expect(refused).rejects.toMatchObject({ code: 'ERR_SOCKS_ADDRESS_TYPE_NOT_SUPPORTED', hop: 0 })
    const chained = SocksClient.connect({
      proxy: ['socks4://127.0.0.1:1', 'socks5h://[::1]:1080'],
      host: 'x.example',
      port: 1,
    })
    await expect(chained).rejects.toMatchObject({ code: 'ERR_SOCKS_ADDRESS_TYPE_NOT_SUPPORTED', hop: 0 })
  })

  it.each([
    ['C126 a reply that begins with 04', '045a1f907f000001', undefined],
    ['C126 rejected', '005b000000000000', { code: 'ERR_SOCKS_GENERAL_FAILURE', status: 0x5b, replyCode: 1 }],
    ['no identd', '005c', { code: 'ERR_SOCKS_AUTH_FAILED', status: 0x5c }],
    ['another user', '005d', { code: 'ERR_SOCKS_AUTH_FAILED', status: 0x5d }],
    ['a SOCKS5 server', '05ff', { code: 'ERR_SOCKS_BAD_VERSION' }],
    ['an HTTP server', '48545450', { code: 'ERR_SOCKS_PEER_IS_HTTP' }],
  ] as const)('%s', async (_name, reply, failure) => {
    const { authority } = await startScripted(reply)
    const attempt = SocksClient.connect({ proxy: `socks4://${authority}`, host: '192.0.2.1', port: 80 })
    if (failure === undefined) (await attempt).socket.destroy()
    else await expect(attempt).rejects.toMatchObject({ ...failure, hop: 0 })
  })

  it.each([
    ['C132 a USERID with NUL', { proxy: 'socks4://a%00b@h' }],
    ['C132 a USERID over 255 bytes', { proxy: `socks4://${'u'.repeat(256)}@h` }],
    ['a password', { proxy: 'socks4://user:secret@h' }],
    ['a password as an option', { proxy: { host: 'h', version: 4 as const, username: 'u', password: 'secret' } }],
    ['requireAuth', { proxy: 'socks4://user@h', requireAuth: true }],
  ])('%s is refused before any I/O, and not repeated', async (_name, options) => {
    const failure = await SocksClient.connect({ ...options, host: 'x', port: 1 }).catch((error: unknown) => error)
    expect(codeOf(failure)).toBe('ERR_SOCKS_INVALID_PROXY')
    expect(String(failure)).not.toContain('secret')
  })

  it('a wrong version is a wrong argument', () => {
    // `as`: wrong on purpose.
    expect(() => new SocksClient({ proxy: { host: 'h', version: 6 as 5 } })).toThrow(TypeError)
  })

  it('reaches its target through a server that serves it, alone and as a hop of a chain', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const four = await startServer({ socks4: (userId) => userId === 'me' })
    const five = await startServer()
    const ways = [
      `socks4a://me@127.0.0.1:${four.port}`,
      [`socks5h://127.0.0.1:${five.port}`, `socks4://me@127.0.0.1:${four.port}`],
      [`socks4a://me@127.0.0.1:${four.port}`, `socks5h://127.0.0.1:${five.port}`],
    ]
    for (const proxy of ways) {
      const { socket } = await SocksClient.connect({ proxy, host: 'localhost', port: echo.port })
      socket.end('hello')
      const chunks: Buffer[] = []
      for await (const chunk of socket) chunks.push(chunk)
      expect(String(Buffer.concat(chunks))).toBe('hello')
    }
    const refused = SocksClient.connect({
      proxy: `socks4a://me@127.0.0.1:${four.port}`,
      host: 'localhost',
      port: await refusedPort(),
    })
    await expect(refused).rejects.toMatchObject({ code: 'ERR_SOCKS_GENERAL_FAILURE' })
    const stranger = SocksClient.connect({
      proxy: `socks4a://you@127.0.0.1:${four.port}`,
      host: 'localhost',
      port: echo.port,
    })
    await expect(stranger).rejects.toMatchObject({ code: 'ERR_SOCKS_GENERAL_FAILURE', status: 0x5b })
  })
})

describe('resolve', () => {
  it('C133 asks the proxy for an address, and for a name', async () => {
    const { port } = await startServer({
      commands: ['resolve', 'resolve-ptr'],
      lookup: (_name, _options, callback) => callback(null, [{ address: '192.0.2.7', family: 4 }]),
      socks4: true,
    })
    // With socks5:// too: the question is the proxy's to answer.
    for (const scheme of ['socks5h', 'socks5', 'socks4a']) {
      const client = new SocksClient({ proxy: `${scheme}://127.0.0.1:${port}` })
      expect(await client.resolve({ host: 'Some.Example' })).toBe('192.0.2.7')
    }
    const name = await SocksClient.resolvePtr({ proxy: `socks5h://127.0.0.1:${port}`, host: '127.0.0.1' })
    expect(name).toMatch(/^[a-z0-9.-]+$/)
  })

  it('C133 a refusal rejects with its code, and an answer of the wrong kind is none', async () => {
    const plain = await startServer()
    const refused = SocksClient.resolve({ proxy: `socks5h://127.0.0.1:${plain.port}`, host: 'x.example' })
    await expect(refused).rejects.toMatchObject({ code: 'ERR_SOCKS_COMMAND_NOT_SUPPORTED' })
    const server = createServer((socket) => {
      let seen = 0
      socket.on('error', () => {})
      socket.on('data', (chunk) => {
        seen += chunk.length
        socket.write(Buffer.from(seen === 3 ? '0500' : '0500000301610000', 'hex'))
      })
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    cleanup(() => server.close())
    const proxy = `socks5h://127.0.0.1:${(server.address() as { port: number }).port}` // it listens
    await expect(SocksClient.resolve({ proxy, host: 'x.example' })).rejects.toMatchObject({
      code: 'ERR_SOCKS_INVALID_HOST',
    })
    expect(await SocksClient.resolvePtr({ proxy, host: '192.0.2.1' })).toBe('a')
  })
})
