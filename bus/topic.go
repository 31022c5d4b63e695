package bus

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxString is the longest UTF-8 string that MQTT can carry, in bytes.
const maxString = 65535

// ValidateTopic says why topic cannot be published to (MQTT 5, 4.7.1 and
// 4.7.3), as an *InvalidError; nil if it can.
func ValidateTopic(topic string) error {
	if err := validateString("topic", topic); err != nil {
		return err
	}
	if strings.ContainsAny(topic, "+#") {
		return &InvalidError{What: fmt.Sprintf("topic %.80q", topic), Reason: "wildcards are only for subscribing"}
	}
	return nil
}

// ValidateFilter says why filter cannot be subscribed to (MQTT 5, 4.7.1), as
// an *InvalidError; nil if it can. "$share/NAME/FILTER" is a shared subscription: each
// message goes to one of the subscribers with that name and filter (MQTT 5, 4.8.2).
func ValidateFilter(filter string) error {
	if err := validateString("filter", filter); err != nil {
		return err
	}
	levels := strings.Split(filter, "/")
	if levels[0] == "$share" {
		if len(levels) < 3 || levels[1] == "" || strings.ContainsAny(levels[1], "+#") || strings.Join(levels[2:], "/") == "" {
			return &InvalidError{What: fmt.Sprintf("filter %.80q", filter), Reason: "a shared subscription is $share/NAME/FILTER, with no wildcard in NAME"}
		}
		levels = levels[2:]
	}
	for i, level := range levels {
		if level == "#" && i != len(levels)-1 {
			return &InvalidError{What: fmt.Sprintf("filter %.80q", filter), Reason: "# must be the last level"}
		}
		if len(level) > 1 && strings.ContainsAny(level, "+#") {
			return &InvalidError{What: fmt.Sprintf("filter %.80q", filter), Reason: "a wildcard must be a level of its own"}
		}
	}
	return nil
}

func validateString(kind, s string) error {
	switch {
	case s == "":
		return &InvalidError{What: kind, Reason: "it is empty"}
	case len(s) > maxString:
		return &InvalidError{What: fmt.Sprintf("%s %.80q...", kind, s[:80]), Reason: "it is longer than 65535 bytes"}
	case !utf8.ValidString(s):
		return &InvalidError{What: fmt.Sprintf("%s %.80q", kind, s), Reason: "it is not UTF-8"}
	case strings.IndexByte(s, 0) >= 0:
		return &InvalidError{What: fmt.Sprintf("%s %.80q", kind, s), Reason: "it has a zero byte"}
	}
	return nil
}

// Unshare returns the filter of a shared subscription without "$share" and name, and
// every other filter as it is.
func Unshare(filter string) string {
	if after, ok := strings.CutPrefix(filter, "$share/"); ok {
		_, filter, _ = strings.Cut(after, "/")
	}
	return filter
}

// Match reports whether a valid topic matches a valid filter. The two are
// compared level by level: "+" stands for one level, "#" for any number of
// levels including none, and neither stands for a first level that begins with
// "$" (MQTT 5, 4.7.2).
func Match(filter, topic string) bool {
	if topic != "" && topic[0] == '$' && filter != "" && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	for {
		want, filterRest, moreFilter := strings.Cut(filter, "/")
		if want == "#" {
			return true
		}
		have, topicRest, moreTopic := strings.Cut(topic, "/")
		if want != "+" && want != have {
			return false
		}
		if !moreTopic {
			return !moreFilter || filterRest == "#"
		}
		if !moreFilter {
			return false
		}
		filter, topic = filterRest, topicRest
	}
}
