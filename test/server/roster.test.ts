import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Entry, Roster } from '../../src/server/roster.js'

describe('a roster', () => {
  it('keeps what is added in its order, whatever is removed, and however often', () => {
    const step = fc.oneof(fc.constant('add' as const), fc.nat({ max: 20 }))
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const roster = new Roster<{ id: number }>()
        const entries: Entry<{ id: number }>[] = []
        const expected = new Set<number>()
        for (const what of steps) {
          if (what === 'add') {
            expected.add(entries.length)
            entries.push(roster.add({ id: entries.length }))
          } else if (entries[what] !== undefined) {
            expected.delete(what)
            roster.remove(entries[what])
          }
          expect(roster.values().map(({ id }) => id)).toEqual([...expected])
          expect(roster.size).toBe(expected.size)
          expect(roster.first?.id).toBe([...expected][0])
        }
      }),
    )
  })

  it('values are those of the moment: removing them one by one misses none', () => {
    const roster = new Roster<string>()
    const entries = new Map(['a', 'b', 'c'].map((value) => [value, roster.add(value)]))
    const seen: string[] = []
    for (const value of roster.values()) {
      seen.push(value)
      for (const entry of entries.values()) roster.remove(entry)
    }
    expect(seen).toEqual(['a', 'b', 'c'])
    expect(roster.size).toBe(0)
  })

  it('a removed entry holds neither its value nor its neighbours', () => {
    const roster = new Roster<string>()
    roster.add('a')
    const middle = roster.add('b')
    roster.add('c')
    roster.remove(middle)
    expect({ ...middle }).toEqual({ value: undefined, before: undefined, after: undefined })
  })
})
