import { describe, expect, it } from 'vitest'
import { SocksClient } from '../../src/client/index.js'
import { userPass } from '../../src/server/index.js'
import { cleanup, startServer } from '../support/servers.js'
import { startEcho } from '../support/targets.js'

describe('isolate', () => {
  it('C134 each connection has credentials of its own, which no other has had', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const seen: string[] = []
    const { port } = await startServer({
      auth: userPass((username, password) => {
        seen.push(username, password)
        return true
      }),
    })
    const client = new SocksClient({ proxy: `socks5h://127.0.0.1:${port}`, isolate: true })
    for (let round = 0; round < 5; round++) {
      const { socket } = await client.connect({ host: '127.0.0.1', port: echo.port })
      socket.destroy()
    }
    expect(new Set(seen).size).toBe(10)
    expect(seen.every((text) => text.length >= 32)).toBe(true)
  })

  it('C134 gives way to no authentication, and keeps the credentials that a proxy has', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const open = await startServer()
    const secret = await startServer({ auth: userPass({ me: 'mine' }) })
    const proxy = [`socks5h://127.0.0.1:${open.port}`, `socks5h://me:mine@127.0.0.1:${secret.port}`]
    const { socket } = await SocksClient.connect({ proxy, isolate: true, host: '127.0.0.1', port: echo.port })
    socket.destroy()
  })

  it.each([
    ['credentials of its own', { proxy: 'socks5h://user:pw@h' }],
    ['SOCKS4', { proxy: 'socks4a://h' }],
  ])('is refused where there is no place for it: %s', (_name, options) => {
    const make = () => new SocksClient({ ...options, isolate: true })
    expect(make).toThrow(expect.objectContaining({ code: 'ERR_SOCKS_INVALID_PROXY' }))
    // `as`: wrong on purpose.
    expect(() => new SocksClient({ proxy: 'socks5h://h', isolate: 1 as unknown as boolean })).toThrow(TypeError)
  })
})
