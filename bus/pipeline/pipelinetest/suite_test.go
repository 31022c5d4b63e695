package pipelinetest_test

import (
	"testing"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/pipelinetest"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

func TestFakeQueues(t *testing.T) {
	pipelinetest.RunQueues(t, func(t *testing.T) meta.Store {
		store := memstore.New()
		t.Cleanup(func() { store.Close() })
		return store
	}, func(_ *testing.T, store meta.Store) pipeline.Queues { return &pipelinetest.Queues{Store: store} })
}
