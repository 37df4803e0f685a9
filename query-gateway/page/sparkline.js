const namespace = 'http://www.w3.org/2000/svg'
const width = 120
const height = 40

/**
 * How a figure went, newest at the right, on a scale from zero to the highest.
 * @param {readonly number[]} values oldest first
 * @param {{ readonly points: number, readonly label: string }} shown points are the width of the picture
 */
export function sparkline(values, { points, label }) {
  const highest = Math.max(1, ...values)
  const at = values.map((value, index) => {
    const x = width - ((values.length - 1 - index) * width) / (points - 1)
    return { x: x.toFixed(1), y: (height - (value / highest) * height).toFixed(1) }
  })
  const svg = document.createElementNS(namespace, 'svg')
  svg.setAttribute('class', 'sparkline')
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`)
  svg.setAttribute('preserveAspectRatio', 'none')
  svg.setAttribute('role', 'img')
  svg.setAttribute('aria-label', label)
  const line = at.map(({ x, y }) => `${x},${y}`).join(' ')
  svg.append(shape('polygon', `${at[0]?.x ?? width},${height} ${line} ${width},${height}`), shape('polyline', line))
  return svg
}

/**
 * @param {string} name
 * @param {string} points
 */
function shape(name, points) {
  const made = document.createElementNS(namespace, name)
  made.setAttribute('points', points)
  return made
}
