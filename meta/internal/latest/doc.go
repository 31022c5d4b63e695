// Package latest hands the newest value of something to any number of
// subscribers: each has a channel that holds one value, and a value that was
// not read yet is replaced by the next. Nobody ever blocks the publisher.
package latest
