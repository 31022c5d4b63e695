package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

// printer is an outbox that prints the last word of a job.
type printer struct{ done context.CancelFunc }

func (p printer) Update(_ context.Context, o meta.Object) error {
	report, err := jobs.DecodeReport(o.Body)
	if err == nil && report.Phase.Final() {
		fmt.Println(o.Key.Name, report.Phase, report.ImageStatus[0].Image, report.ImageStatus[0].Status)
		p.done()
	}
	return err
}

func (printer) Delete(context.Context, meta.Object) error { return errors.New("nothing is deleted") }

// registry has every image.
type registry struct{}

func (registry) PullImage(context.Context, string, []*corev1.Secret) error { return nil }

// A node pulls an image that the cloud asks for.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	store := memstore.New()
	defer store.Close()
	job := jobs.NodeJob{
		Kind: v1alpha2.KindImagePrePullJob, Name: "next-week", UID: "u-1", Phase: v1alpha2.Apply, TimeoutSeconds: 300,
		ImagePrePull: &jobs.ImagePrePull{Images: []string{"registry.example.com/app:2"}},
	}
	body, err := json.Marshal(job)
	if err != nil {
		panic(err)
	}
	// As the link does it.
	o := meta.Object{Key: meta.Key{Resource: jobs.Resource, Name: jobs.Key(job.Kind, job.Name)}, Version: "1", Body: body}
	if _, err := store.Apply(ctx, meta.Op{Key: meta.Down + o.Key.Path(), Value: meta.EncodeObject(o)}); err != nil {
		panic(err)
	}
	r, err := jobs.New(jobs.Config{Store: store, Reporter: printer{cancel}, Images: registry{}})
	if err != nil {
		panic(err)
	}
	if err := r.Run(ctx); err != nil {
		panic(err)
	}
	// Output: imageprepulljob.next-week Successful registry.example.com/app:2 True
}
