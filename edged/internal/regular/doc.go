// Package regular opens regular files at paths that a pod may have a hand in: with
// a host path it can put a link, a FIFO or a device where a file was, and whoever
// opens that reads another file, or waits for ever.
package regular
