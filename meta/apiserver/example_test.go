package apiserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/apiserver"
	"github.com/edgekit/edgekit/meta/memstore"
)

// A client-go client reads what a node has in its store.
func Example() {
	store := memstore.New()
	defer store.Close()
	body, _ := json.Marshal(corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "prices"}, Data: map[string]string{"tea": "2"}})
	key := meta.Key{Resource: "configmaps", Namespace: "shop", Name: "prices"}
	ctx := context.Background()
	if _, err := store.Apply(ctx, meta.Op{Key: meta.Down + key.Path(), Value: meta.EncodeObject(meta.Object{Version: "7", Body: body})}); err != nil {
		fmt.Println(err)
		return
	}
	api, err := apiserver.New(apiserver.Config{Store: store, Node: "gate-7"})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(api.AdminHandler())
	defer server.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, Transport: transport})
	if err != nil {
		fmt.Println(err)
		return
	}
	prices, err := client.CoreV1().ConfigMaps("shop").Get(ctx, "prices", metav1.GetOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("tea costs", prices.Data["tea"])
	// Output: tea costs 2
}
