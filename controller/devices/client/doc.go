// Package client is where the generated clients of the device resources are, for programs that
// work with Devices as with Kubernetes' own objects:
//
//   - clientset: a typed client, and a fake one for tests, which does everything but Apply,
//   - listers: typed access to an informer's cache,
//   - applyconfigurations: what server-side apply takes.
//
// An informer is made with client-go's own cache package:
//
//	devices, err := clientset.NewForConfig(config)
//	...
//	informer := cache.NewSharedIndexInformer(&cache.ListWatch{ListWithContextFunc: ..., WatchFuncWithContext: ...},
//		&v1beta1.Device{}, 0, cache.Indexers{})
//	lister := listers.NewDeviceLister(informer.GetIndexer())
//
// There is no generated informer factory. It would add a package for each kind that does what the
// lines above do, and share informers through one object, where a program with three kinds can
// name its three; controller-runtime, and controllers that cache parts of objects, use none either.
//
// cloudcore and edgecore use none of them: a clientset costs tens of MiB of memory merely
// linked. The packages follow the types of device/v1beta1 and are as stable as these. The two init
// functions in clientset are client-gen's; they fill the package's own schemes.
package client

//go:generate ./generate
