import { InvalidArgumentError } from 'commander'

/** The value of an option that is a number of zero or more. @throws InvalidArgumentError for anything else */
export function numberOption(text: string): number {
  const number = Number(text)
  if (text.trim() === '' || !Number.isFinite(number) || number < 0)
    throw new InvalidArgumentError('A number of zero or more is needed.')
  return number
}
