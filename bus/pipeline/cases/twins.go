package cases

import (
	"context"
	"errors"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// fixed are twins that do not change.
type fixed struct{ values twinValues }

// Reported returns the value of the case.
func (f fixed) Reported(device, property string) (pipeline.TwinValue, bool) {
	v, ok := f.values[[2]string{device, property}]
	return v, ok
}

// Watch waits: a case gives the events of its sources itself.
func (fixed) Watch(ctx context.Context, _ v1alpha1.TwinSource, _ func(context.Context, pipeline.TwinValue) error) error {
	<-ctx.Done()
	return nil
}

// SetDesired is not called: a case has no sinks.
func (fixed) SetDesired(context.Context, string, string, any) error {
	return errors.New("bus/pipeline/cases: a case sets no twins")
}
