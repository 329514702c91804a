import { describe, expect, it } from 'vitest'
import { BufferPool } from '../../src/stream/buffer-pool.js'

function borrow(pool: BufferPool): Uint8Array {
  const buffer = pool.borrow()
  if (buffer === undefined) throw new Error('all are out')
  return buffer
}

describe('BufferPool', () => {
  it('lends no more than it may, and again what came back', () => {
    const pool = new BufferPool(32, 2, 1)
    const [first, second] = [borrow(pool), borrow(pool)]
    expect([first.length, second.length, pool.lent, pool.idle]).toEqual([32, 32, 2, 0])
    expect(first.buffer).not.toBe(second.buffer)
    expect(pool.borrow()).toBeUndefined()
    expect(pool.lent).toBe(2)
    pool.giveBack(first)
    expect([pool.lent, pool.idle]).toEqual([1, 1])
    expect(pool.borrow()).toBe(first)
    expect([pool.lent, pool.idle]).toEqual([2, 0])
  })

  it('keeps no more than it may', () => {
    const pool = new BufferPool(32, 8, 3)
    const all = Array.from({ length: 8 }, () => borrow(pool))
    for (const buffer of all) pool.giveBack(buffer)
    expect([pool.lent, pool.idle]).toEqual([0, 3])
  })

  it('never lends again what it has written off', () => {
    const pool = new BufferPool(32, 1, 1)
    const lost = borrow(pool)
    pool.writeOff()
    expect([pool.lent, pool.idle]).toEqual([0, 0])
    expect(borrow(pool)).not.toBe(lost)
  })
})
