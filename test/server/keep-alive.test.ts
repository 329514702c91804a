import { Socket } from 'node:net'
import { afterEach, expect, it, vi } from 'vitest'
import { connectRequest } from '../support/raw-client.js'
import { cleanup, startServer } from '../support/servers.js'
import { startEcho } from '../support/targets.js'

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

it('a tunnel that lasts gets TCP keep-alive on both its sockets, and not before', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  const kept = vi.spyOn(Socket.prototype, 'setKeepAlive')
  const target = await startEcho()
  cleanup(() => target.close())
  const { client, server } = await startServer()
  const { stream } = await client()
  const established = new Promise((resolve) => server.once('established', resolve))
  stream.write(Buffer.concat([Buffer.from([5, 1, 0]), connectRequest('127.0.0.1', target.port)]))
  await established
  const own = (): number => kept.mock.contexts.filter((socket) => socket !== stream).length
  expect(own()).toBe(0)
  vi.advanceTimersByTime(20_000)
  expect(own()).toBe(2)
})

it('a socket that may be given away has it at once', async () => {
  const kept = vi.spyOn(Socket.prototype, 'setKeepAlive')
  const { client, closed } = await startServer({ fallback: (socket) => socket.destroy() })
  const ended = closed()
  const { stream } = await client()
  stream.write('GET / HTTP/1.0\r\n\r\n')
  await ended
  expect(kept.mock.contexts.some((socket) => socket !== stream)).toBe(true)
})
