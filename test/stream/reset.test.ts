import { once } from 'node:events'
import { duplexPair } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { reset } from '../../src/stream/reset.js'
import { descriptors, settlesAt } from '../support/descriptors.js'
import { RawClient } from '../support/raw-client.js'
import { cleanup } from '../support/servers.js'
import { startTarget } from '../support/targets.js'

describe('reset', () => {
  it('sends RST on a TCP socket', async () => {
    const target = await startTarget()
    cleanup(() => target.close())
    const client = await RawClient.connect(target.port)
    reset(await target.connection())
    expect(await client.closed).toMatchObject({ code: 'ECONNRESET' })
  })

  it('of a socket whose FIN is under way closes its descriptor, which Node alone would lose', async () => {
    const target = await startTarget()
    cleanup(() => target.close())
    const before = descriptors()
    for (let round = 0; round < 20; round++) {
      const { stream } = await RawClient.connect(target.port)
      const closed = new Promise((resolve) => stream.once('close', resolve))
      stream.end()
      reset(stream)
      await closed
    }
    for (const socket of target.sockets) socket.destroy()
    expect(await settlesAt(descriptors, before)).toBe(before)
  })

  it('takes back nothing that was handed over before a FIN', async () => {
    const target = await startTarget()
    cleanup(() => target.close())
    const client = await RawClient.connect(target.port)
    const socket = await target.connection()
    socket.end('all of it')
    await once(socket, 'finish')
    reset(socket)
    expect((await client.readToEnd()).toString()).toBe('all of it')
    client.stream.destroy()
  })

  it('destroys what has no reset to send, and does nothing to what is gone', async () => {
    const [near] = duplexPair()
    reset(near)
    reset(near)
    expect(near.destroyed).toBe(true)
  })
})
