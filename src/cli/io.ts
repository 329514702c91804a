import type { Readable, Writable } from 'node:stream'

/** What a command of the `tubesock` program reads and writes: the process's own, or a test's. */
export interface CommandIo {
  readonly stdin: Readable
  readonly stdout: Writable
  readonly stderr: Writable
  readonly env: { readonly [name: string]: string | undefined }
}
