// Package topictree finds the subscriptions that match a topic, and the topics that
// match a filter, by MQTT's rules (MQTT 5, 4.7): "+" stands for one level, "#" for
// any number of levels, and neither stands for a first level that begins with "$".
//
// Filters and topics are valid; package bus checks them. The types are not safe for
// use by several goroutines at once: the owner has a lock.
package topictree
