import type { LookupAddress } from 'node:dns'
import { describe, expect, it } from 'vitest'
import { Cancellation } from '../../src/server/cancellation.js'
import { FairLookups } from '../../src/server/fair-lookups.js'
import { createOutbound } from '../../src/server/index.js'
import { deferred } from '../support/deferred.js'

const NEVER = new Cancellation()

/** A resolver that answers when it is told to. */
function slowResolver() {
  const asked: string[] = []
  const answers = new Map<string, (address: string) => void>()
  return {
    asked,
    answer: async (host: string) => {
      answers.get(host)?.('192.0.2.1')
      answers.delete(host)
      await new Promise((resolve) => setImmediate(resolve))
    },
    lookUp: async (host: string): Promise<LookupAddress[]> => {
      asked.push(host)
      const { promise, resolve } = deferred<string>()
      answers.set(host, resolve)
      return [{ address: await promise, family: 4 }]
    },
  }
}

describe('look-ups by the system', () => {
  it('one client whose names are never answered leaves room for another', async () => {
    const resolver = slowResolver()
    const lookups = new FairLookups(resolver.lookUp, 4)
    for (let index = 0; index < 50; index++) void lookups.lookUp(`slow${index}.example`, 'greedy', NEVER)
    expect(resolver.asked).toEqual(['slow0.example', 'slow1.example'])
    const served = lookups.lookUp('fast.example', 'modest', NEVER)
    await resolver.answer('fast.example')
    expect(await served).toEqual([{ address: '192.0.2.1', family: 4 }])
  })

  it('who has left before its turn is never looked up for, and what has begun still counts', async () => {
    const resolver = slowResolver()
    const lookups = new FairLookups(resolver.lookUp, 2)
    const gone = new Cancellation()
    const waits = [0, 1, 2, 3].map((index) => lookups.lookUp(`name${index}.example`, 'client', gone))
    for (const wait of waits) wait.catch(() => {})
    gone.cancel(() => new Error('left'))
    for (const wait of waits.slice(1)) await expect(wait).rejects.toThrow('left')
    const next = lookups.lookUp('next.example', 'client', NEVER)
    expect(resolver.asked).toEqual(['name0.example'])
    await resolver.answer('name0.example')
    expect(resolver.asked).toEqual(['name0.example', 'next.example'])
    await resolver.answer('next.example')
    expect((await next).length).toBe(1)
    await expect(lookups.lookUp('x.example', 'client', gone)).rejects.toThrow('left')
  })

  it('clients take turns', async () => {
    const resolver = slowResolver()
    const lookups = new FairLookups(resolver.lookUp, 1)
    void lookups.lookUp('first.example', 'z', NEVER)
    for (const client of ['a', 'b', 'c']) {
      for (const index of [1, 2]) void lookups.lookUp(`${client}${index}.example`, client, NEVER)
    }
    for (let round = 0; round < 7; round++) await resolver.answer(resolver.asked.at(-1) ?? '')
    expect(resolver.asked.map((name) => name[0]).join('')).toBe('fabcabc')
  })

  it('one name is looked up once at a time, for whoever asks, and again when somebody asks later', async () => {
    const resolver = slowResolver()
    const lookups = new FairLookups(resolver.lookUp, 2)
    const both = Promise.all(['a', 'b', 'c'].map((client) => lookups.lookUp('same.example', client, NEVER)))
    await resolver.answer('same.example')
    expect((await both).length).toBe(3)
    expect(resolver.asked).toEqual(['same.example'])
    void lookups.lookUp('same.example', 'a', NEVER)
    expect(resolver.asked.length).toBe(2)
  })

  it('a failure is told to everybody who waits, and makes room', async () => {
    const lookups = new FairLookups(() => Promise.reject(new Error('ENOTFOUND')), 1)
    for (let round = 0; round < 3; round++) await expect(lookups.lookUp('x', 'a', NEVER)).rejects.toThrow('ENOTFOUND')
  })
})

describe('an answer of thousands of addresses', () => {
  it('costs no more than one of 64', async () => {
    let judged = 0
    const addresses = Array.from({ length: 4_000 }, (_, index) => ({
      address: `198.51.${index >> 8}.${index & 255}`,
      family: 4,
    }))
    const outbound = createOutbound({
      lookup: (_name, _options, callback) => callback(null, addresses),
      egress: () => {
        judged++
        return false
      },
    })
    await expect(outbound.connect({ host: 'many.example', port: 80 })).rejects.toMatchObject({
      code: 'ERR_SOCKS_EGRESS_DENIED',
    })
    expect(judged).toBe(64)
  })
})
