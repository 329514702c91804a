/** What a decoder returns for a whole message. `undefined` in its place means: need more bytes. */
export interface Decoded<T> {
  readonly value: T
  /** How many bytes the message took, counted from the offset that was given. */
  readonly bytesRead: number
}
