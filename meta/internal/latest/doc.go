// Package latest passes the newest value of something to any number of subscribers. Each has a
// channel that holds one value; a newer value replaces one that was not read yet. The publisher
// never blocks.
package latest
