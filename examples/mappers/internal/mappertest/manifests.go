package mappertest

import (
	"context"
	"os"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1"
)

// Instance reads a DeviceModel and a Device of it from two files, checks both as an API
// server does, and returns the device as its driver sees it.
func Instance(t *testing.T, modelFile, deviceFile string) device.Instance {
	t.Helper()
	var model v1beta1.DeviceModel
	var dev v1beta1.Device
	read(t, modelFile, "DeviceModel", &model)
	read(t, deviceFile, "Device", &dev)
	if dev.Spec.ModelRef.Name != model.Name || dev.Namespace != model.Namespace {
		t.Errorf("%s: deviceModelRef is %s in %s, the model is %s in %s", deviceFile, dev.Spec.ModelRef.Name, dev.Namespace, model.Name, model.Namespace)
	}
	for _, p := range dev.Spec.Properties {
		if model.Spec.Property(p.Name) == nil {
			t.Errorf("%s: property %s is not in the model", deviceFile, p.Name)
		}
	}
	spec, err := dev.Spec.WithDefaults(model.Spec)
	if err != nil {
		t.Fatal(err)
	}
	return device.Instance{ID: dev.Namespace + "/" + dev.Name, Spec: spec, Model: model.Spec}
}

// read reads one object and checks it against the definition of its kind.
func read(t *testing.T, file, kind string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var object map[string]any
	if err := yaml.Unmarshal(text, &object); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	schema := definition(t, kind)
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(schema, &internal, nil); err != nil {
		t.Fatal(err)
	}
	validator, _, err := validation.NewSchemaValidator(&internal)
	if err != nil {
		t.Fatal(err)
	}
	structure, err := structural.NewStructural(&internal)
	if err != nil {
		t.Fatal(err)
	}
	errs := validation.ValidateCustomResource(nil, object, validator)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, structure, object)...)
	rules, _ := cel.NewValidator(structure, true, celconfig.PerCallLimit).
		Validate(context.Background(), nil, structure, object, nil, celconfig.RuntimeCELCostBudget) // a test has no other context
	for _, err := range append(errs, rules...) {
		t.Errorf("%s: %v", file, err)
	}
	for _, path := range pruning.PruneWithOptions(object, structure, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		t.Errorf("%s: unknown field %s", file, path)
	}
}

// definition is the schema of a kind's resource definition (CRD).
func definition(t *testing.T, kind string) *apiextensionsv1.JSONSchemaProps {
	t.Helper()
	docs, err := v1beta1.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range docs {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(doc, &crd); err != nil {
			t.Fatal(err)
		}
		if crd.Spec.Names.Kind == kind {
			return crd.Spec.Versions[len(crd.Spec.Versions)-1].Schema.OpenAPIV3Schema
		}
	}
	t.Fatalf("no resource definition of kind %s", kind)
	return nil
}
