package main

import (
	"context"
	"errors"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// orders are the ConfigMaps that the operator looks after; it makes one with answers for each.
const orders = "kind=order"

// operator is a controller as controller-runtime makes them: it leads by a Lease, has an informer,
// and ends when it loses the Lease.
func operator(ctx context.Context, a *app) error {
	api, err := client()
	if err != nil {
		return err
	}
	namespace, name := os.Getenv("POD_NAMESPACE"), os.Getenv("POD_NAME")
	lock := &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: namespace, Name: "operator"}, Client: api.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: name},
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var lost error
	a.set("leader", false)
	leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { reconcile(ctx, a, api, namespace) },
			OnStoppedLeading: func() {
				if ctx.Err() == nil {
					lost = errors.New("leader election lost")
				}
			},
			OnNewLeader: func(who string) { a.set("holder", who) },
		},
	})
	return lost
}

func reconcile(ctx context.Context, a *app, api kubernetes.Interface, namespace string) {
	a.set("leader", true)
	f := informers.NewSharedInformerFactoryWithOptions(api, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = orders }))
	informer := f.Core().V1().ConfigMaps().Informer()
	answer := func(obj any) {
		order, ok := obj.(*corev1.ConfigMap)
		if !ok {
			return
		}
		_, err := api.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: order.Name + "-answer"}, Data: map[string]string{"by": os.Getenv("POD_NAME")},
		}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			a.set("last error", err.Error())
			return
		}
		a.count("answered", 1)
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: answer, UpdateFunc: func(_, obj any) { answer(obj) }})
	if err != nil {
		a.set("last error", err.Error())
	}
	f.Start(ctx.Done())
	<-ctx.Done()
	f.Shutdown()
}
