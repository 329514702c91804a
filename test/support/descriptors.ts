import { readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** Open descriptors of this process. */
export function descriptors(): number {
  return readdirSync('/proc/self/fd').length
}

/** Waits until a figure is what it should be; gives up after ten seconds and returns what it was last. */
export async function settlesAt(figure: () => number, wanted: number): Promise<number> {
  for (let round = 0; round < 500 && figure() !== wanted; round++) await sleep(20)
  return figure()
}
