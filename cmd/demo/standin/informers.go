package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

// started runs the informers of a factory and notes which of them have synced.
func started(ctx context.Context, a *app, factory informers.SharedInformerFactory, all map[string]cache.SharedIndexInformer) {
	for name, informer := range all {
		_ = informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
			a.set("error of "+name, err.Error())
			cache.DefaultWatchErrorHandler(ctx, r, err)
		})
	}
	factory.Start(ctx.Done())
}

// stateMetrics has informers of the kinds that kube-state-metrics has by default, and serves how
// many objects each holds.
func stateMetrics(ctx context.Context, a *app) error {
	api, err := client()
	if err != nil {
		return err
	}
	f := informers.NewSharedInformerFactory(api, 0)
	all := map[string]cache.SharedIndexInformer{
		"pods": f.Core().V1().Pods().Informer(), "nodes": f.Core().V1().Nodes().Informer(), "services": f.Core().V1().Services().Informer(),
		"namespaces": f.Core().V1().Namespaces().Informer(), "configmaps": f.Core().V1().ConfigMaps().Informer(),
		"deployments": f.Apps().V1().Deployments().Informer(), "daemonsets": f.Apps().V1().DaemonSets().Informer(),
		"statefulsets": f.Apps().V1().StatefulSets().Informer(), "replicasets": f.Apps().V1().ReplicaSets().Informer(),
		"jobs": f.Batch().V1().Jobs().Informer(), "leases": f.Coordination().V1().Leases().Informer(),
		"endpointslices": f.Discovery().V1().EndpointSlices().Informer(), "persistentvolumeclaims": f.Core().V1().PersistentVolumeClaims().Informer(),
	}
	started(ctx, a, f, all)
	a.mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		for _, o := range all["pods"].GetStore().List() {
			p := o.(*corev1.Pod)
			fmt.Fprintf(w, "kube_pod_info{namespace=%q,pod=%q,node=%q} 1\n", p.Namespace, p.Name, p.Spec.NodeName)
		}
	})
	return every(ctx, time.Second, func() {
		counts, nodes := make(map[string]int), make(map[string]int)
		for name, informer := range all {
			if informer.HasSynced() {
				counts[name] = len(informer.GetStore().ListKeys())
			}
		}
		for _, o := range all["pods"].GetStore().List() {
			nodes[o.(*corev1.Pod).Spec.NodeName]++
		}
		a.set("objects", counts)
		a.set("pods by node", nodes)
		a.set("kinds", len(all))
	})
}

// endpoints returns host:port of a Service's endpoints, and whether each is ready.
func endpoints(lister discoverylisters.EndpointSliceLister, service string) map[string]bool {
	found := make(map[string]bool)
	all, _ := lister.List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service})) // a lister of a cache does not fail
	for _, s := range all {
		for _, e := range s.Endpoints {
			for _, address := range e.Addresses {
				for _, p := range s.Ports {
					found[net.JoinHostPort(address, strconv.Itoa(int(*p.Port)))] = e.Conditions.Ready == nil || *e.Conditions.Ready
				}
			}
		}
	}
	return found
}

// ingress proxies HTTP by the Ingresses, straight to the endpoints as ingress controllers do.
func ingress(ctx context.Context, a *app) error {
	api, err := client()
	if err != nil {
		return err
	}
	f := informers.NewSharedInformerFactory(api, 0)
	slicesOf, ingresses := f.Discovery().V1().EndpointSlices(), f.Networking().V1().Ingresses()
	all := map[string]cache.SharedIndexInformer{
		"ingresses": ingresses.Informer(), "services": f.Core().V1().Services().Informer(), "endpointslices": slicesOf.Informer(),
		"ingressclasses": f.Networking().V1().IngressClasses().Informer(),
	}
	started(ctx, a, f, all)
	route := func(host string) []string {
		list, _ := ingresses.Lister().List(labels.Everything()) // a lister of a cache does not fail
		var hosts []string
		for _, in := range list {
			for _, rule := range in.Spec.Rules {
				if rule.Host == host && rule.HTTP != nil {
					for at, ready := range endpoints(slicesOf.Lister(), rule.HTTP.Paths[0].Backend.Service.Name) {
						if ready {
							hosts = append(hosts, at)
						}
					}
				}
			}
		}
		return slices.Sorted(slices.Values(hosts))
	}
	a.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		hosts := route(strings.Split(r.Host, ":")[0])
		if len(hosts) == 0 {
			http.Error(w, "no endpoint", http.StatusServiceUnavailable)
			return
		}
		httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: hosts[time.Now().UnixNano()%int64(len(hosts))]}).ServeHTTP(w, r)
	})
	return every(ctx, time.Second, func() {
		routes := make(map[string][]string)
		list, _ := ingresses.Lister().List(labels.Everything())
		for _, in := range list {
			for _, rule := range in.Spec.Rules {
				routes[rule.Host] = route(rule.Host)
			}
			if len(in.Status.LoadBalancer.Ingress) == 0 {
				in = in.DeepCopy()
				in.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: os.Getenv("POD_IP")}}
				if _, err := api.NetworkingV1().Ingresses(in.Namespace).UpdateStatus(ctx, in, metav1.UpdateOptions{}); err != nil {
					a.set("last error", err.Error())
				}
			}
		}
		a.set("routes", routes)
	})
}
