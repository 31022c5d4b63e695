package rules_test

import (
	"io"
	"strings"

	"github.com/edgekit/edgekit/hub"
)

func key(rule string) hub.Key {
	return hub.Key{Resource: "rules", Namespace: "plant", Name: rule}
}

func event(rule string, id uint64, body []byte) []hub.Event {
	return []hub.Event{{Source: "s", ID: id, Key: hub.Key{Resource: "rules/messages", Namespace: "plant", Name: rule}, Body: body}}
}

func readerOf(s string) io.Reader { return strings.NewReader(s) }
