package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
)

// runsKey holds the instances of this node's runs, newest first. The hello names them, so
// that the late hello of a killed run never ends the session of a later run.
const runsKey = meta.Local + "link/runs"

// rememberRun stores this run and returns the earlier ones. It must be durable before the
// first connection, because a power cut may follow.
func rememberRun(ctx context.Context, store meta.Store, instance string) (earlier []string, err error) {
	r, err := store.Get(ctx, runsKey)
	if err != nil && !errors.Is(err, meta.ErrNotFound) {
		return nil, fmt.Errorf("reading the earlier runs: %w", err)
	}
	if err == nil && json.Unmarshal(r.Value, &earlier) != nil {
		earlier = nil // unreadable: start a new list
	}
	earlier = slices.DeleteFunc(earlier, func(i string) bool { return i == "" || i == instance })
	earlier = earlier[:min(len(earlier), hub.MaxEarlier)]
	text, err := json.Marshal(append([]string{instance}, earlier...))
	if err == nil {
		_, err = store.Apply(ctx, meta.Op{Key: runsKey, Value: text})
	}
	if err != nil {
		return earlier, fmt.Errorf("storing this run: %w", err)
	}
	return earlier, nil
}
