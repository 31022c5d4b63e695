package queue

import (
	"testing"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/pipelinetest"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

func TestSuite(t *testing.T) {
	pipelinetest.RunQueues(t, func(t *testing.T) meta.Store {
		store := memstore.New()
		t.Cleanup(func() { store.Close() })
		return store
	}, func(t *testing.T, store meta.Store) pipeline.Queues { return newQueues(t, store, nil) })
}
