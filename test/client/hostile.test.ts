import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { duplexPair } from 'node:stream'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { SocksClient } from '../../src/client/index.js'
import { cleanup, startServer } from '../support/servers.js'
import { startEcho } from '../support/targets.js'

describe('a lookup that misbehaves', () => {
  const lookups = {
    'is async and rejects': async () => {
      throw new Error('boom')
    },
    'answers a list of nothing': (_host: string, _options: unknown, callback: (error: null, found: unknown) => void) =>
      setImmediate(callback, null, [null]),
    'answers a symbol': (_host: string, _options: unknown, callback: (error: null, found: unknown) => void) =>
      setImmediate(callback, null, [{ address: Symbol('no'), family: 4 }]),
    'answers undefined': (_host: string, _options: unknown, callback: (error: null) => void) =>
      setImmediate(callback, null),
  }

  it.each(Object.keys(lookups))('%s: the connect rejects at once, for the proxy and for the target', async (how) => {
    const lookup = Reflect.get(lookups, how)
    const { port } = await startServer()
    const proxy = SocksClient.connect({ proxy: 'socks5h://proxy.example:1', host: 'a', port: 1, lookup, timeoutMs: 0 })
    await expect(proxy).rejects.toMatchObject({ code: 'ERR_SOCKS_PROXY_UNREACHABLE', hop: 0 })
    const local = `socks5://127.0.0.1:${port}`
    const target = SocksClient.connect({ proxy: local, host: 'a.example', port: 1, lookup, timeoutMs: 0 })
    await expect(target).rejects.toMatchObject({ code: 'ERR_SOCKS_HOST_UNREACHABLE', replyCode: 4 })
  })

  it('calls back twice, or throws after its answer: the first answer counts', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const { port } = await startServer()
    const answers = {
      twice: (_host: string, _options: unknown, callback: (error: Error | null, found: unknown) => void) => {
        callback(null, [{ address: '127.0.0.1', family: 'IPv4' }])
        callback(new Error('second'), [])
      },
      throws: (_host: string, _options: unknown, callback: (error: Error | null, found: unknown) => void) => {
        callback(null, [{ address: '127.0.0.1', family: 4 }])
        throw new Error('after')
      },
    }
    for (const how of ['twice', 'throws']) {
      const lookup = Reflect.get(answers, how)
      const proxy = `socks5h://proxy.example:${port}`
      const { socket } = await SocksClient.connect({ proxy, host: '127.0.0.1', port: echo.port, lookup })
      socket.destroy()
    }
  })
})

describe('a given socket', () => {
  it('that fails while the target is looked up ends no process', async () => {
    const [near] = duplexPair()
    const attempt = SocksClient.connect({
      proxy: 'socks5://127.0.0.1:1',
      host: 'a.example',
      port: 1,
      socket: near,
      lookup: (_host, _options, callback) => {
        near.destroy(new Error('early'))
        near.once('close', () => callback(null, [{ address: '127.0.0.1', family: 4 }]))
      },
    })
    await expect(attempt).rejects.toMatchObject({ code: 'ERR_SOCKS_CONNECTION_CLOSED' })
  })

  it('that still connects, and fails, ends no process', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    server.close()
    await once(server, 'close')
    const socket = connect(address.port, '127.0.0.1')
    const attempt = SocksClient.connect({ proxy: 'socks5h://127.0.0.1:1', host: 'a.example', port: 1, socket })
    await expect(attempt).rejects.toMatchObject({ code: 'ERR_SOCKS_CONNECTION_CLOSED' })
  })

  it.each([{}, null, 'socket'])('that is no stream of bytes is refused: %j', async (socket) => {
    const options = { proxy: 'socks5h://127.0.0.1:1', host: 'a.example', port: 1, socket }
    // @ts-expect-error wrong on purpose
    await expect(SocksClient.connect(options)).rejects.toThrow(TypeError)
  })
})

describe('onHop', () => {
  async function throughHop(onHop: () => unknown, signal?: AbortSignal) {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const { port } = await startServer()
    const proxy = `socks5h://127.0.0.1:${port}`
    return SocksClient.connect({ proxy, host: '127.0.0.1', port: echo.port, onHop, signal })
  }

  it('that aborts the signal, at once or in a microtask, rejects with its reason', async () => {
    for (const later of [false, true]) {
      const controller = new AbortController()
      const reason = new Error('enough')
      const abort = (): void => controller.abort(reason)
      const attempt = throughHop(() => (later ? queueMicrotask(abort) : abort()), controller.signal)
      await expect(attempt).rejects.toBe(reason)
    }
  })

  it('that is async and rejects ends the connect', async () => {
    await expect(throughHop(() => Promise.reject(new Error('no')))).rejects.toThrow('no')
  })

  it('that rejects with a promise of another realm does, too', async () => {
    const foreign = runInNewContext("async () => { throw new Error('foreign') }")
    await expect(throughHop(foreign)).rejects.toThrow('foreign')
  })
})
