import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { SocksClient } from '../../src/client/index.js'
import { deferred } from '../support/deferred.js'
import { startServer } from '../support/servers.js'

describe('a connect that is cut short', () => {
  it.each(['abort', 'timeout'])('C142 by %s cancels what the proxy is dialing for it', async (how) => {
    const dialing = deferred<AbortSignal>()
    const { port, closed } = await startServer({
      dial: ({ signal }) => {
        dialing.resolve(signal)
        return new Promise<never>(() => {})
      },
      dialTimeoutMs: 0,
    })
    const closing = closed()
    const controller = new AbortController()
    const attempt = SocksClient.connect({
      proxy: `socks5h://127.0.0.1:${port}`,
      host: 'example.com',
      port: 80,
      signal: controller.signal,
      timeoutMs: how === 'timeout' ? 50 : 0,
    })
    const failed = expect(attempt).rejects.toThrow()
    const signal = await dialing.promise
    if (how === 'abort') controller.abort()
    await failed
    if (!signal.aborted) await once(signal, 'abort')
    expect(await closing).toMatchObject({ reason: 'aborted' })
  })
})
