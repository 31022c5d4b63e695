package edged_test

import (
	"testing"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/internal/actions"
)

// TestTraceNames: the names that users compare with are those that actions gives.
func TestTraceNames(t *testing.T) {
	for public, own := range map[string]string{
		edged.TraceVolumes: actions.StepVolumes, edged.TraceSandbox: actions.StepSandbox, edged.TraceStart: actions.StepStart,
		edged.TraceImage: actions.StepImage, edged.TraceStop: actions.StepStop, edged.TraceRemove: actions.StepRemove,
	} {
		if public != own {
			t.Errorf("edged has %q, actions %q", public, own)
		}
	}
}
