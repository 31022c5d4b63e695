package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/edgekit/edgekit/meta"
)

// runsKey holds the instances of this node's runs, newest first: the cloud is told of
// them, so that what a killed run sent never takes the link from the one after it.
const runsKey = meta.Local + "link/runs"

// maxRuns is how many runs are remembered besides this one; hub takes no more.
const maxRuns = 4

// rememberRun adds this run to those that the store remembers and gives the earlier
// ones. It must be durable before the first connection: a power cut may follow.
func rememberRun(ctx context.Context, store meta.Store, instance string) (earlier []string, err error) {
	r, err := store.Get(ctx, runsKey)
	if err != nil && !errors.Is(err, meta.ErrNotFound) {
		return nil, fmt.Errorf("the earlier runs are not known: %w", err)
	}
	if err == nil && json.Unmarshal(r.Value, &earlier) != nil {
		earlier = nil // written by nothing that is known: forgotten
	}
	earlier = slices.DeleteFunc(earlier, func(i string) bool { return i == "" || i == instance })
	earlier = earlier[:min(len(earlier), maxRuns)]
	text, err := json.Marshal(append([]string{instance}, earlier...))
	if err == nil {
		_, err = store.Apply(ctx, meta.Op{Key: runsKey, Value: text})
	}
	if err != nil {
		return earlier, fmt.Errorf("this run is not remembered: %w", err)
	}
	return earlier, nil
}
