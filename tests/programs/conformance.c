/* An extension module whose calls of allocator functions go the way that those of every compiled module go: straight to
   the C library, without ctypes between. Built once, against the limited API of 3.8, for all versions. */

#define Py_LIMITED_API 0x03080000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void *aligned_by(const char *name, size_t size) {
    void *block = NULL;
    if (!strcmp(name, "posix_memalign"))
        return posix_memalign(&block, 64, size) ? NULL : block;
    if (!strcmp(name, "aligned_alloc"))
        return aligned_alloc(8, size);
    if (!strcmp(name, "memalign"))
        return memalign(8, size);
    if (!strcmp(name, "valloc"))
        return valloc(size);
    return !strcmp(name, "pvalloc") ? pvalloc(size) : NULL;
}

static void *allocate_by(const char *name, size_t size) {
    if (!strcmp(name, "malloc"))
        return malloc(size);
    if (!strcmp(name, "calloc"))
        return calloc(1, size);
    if (!strcmp(name, "realloc"))
        return realloc(malloc(1), size);
    if (!strcmp(name, "reallocarray"))
        return reallocarray(NULL, 4, size / 4);
    if (!strcmp(name, "by dlsym")) {
        void *(*found)(size_t) = dlsym(RTLD_DEFAULT, "malloc");
        return found ? found(size) : NULL;
    }
    return aligned_by(name, size);
}

static PyObject *address_of(void *block) {
    return block ? PyLong_FromVoidPtr(block) : PyErr_NoMemory();
}

static PyObject *allocate(PyObject *module, PyObject *arguments) {
    const char *name;
    Py_ssize_t size;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "sn", &name, &size))
        return NULL;
    return address_of(allocate_by(name, size));
}

/* The thread is without the GIL when it allocates. */
static PyObject *allocate_without_gil(PyObject *module, PyObject *size) {
    void *block;
    size_t bytes = PyLong_AsSize_t(size);
    (void)module;
    Py_BEGIN_ALLOW_THREADS;
    block = valloc(bytes);
    Py_END_ALLOW_THREADS;
    return address_of(block);
}

/* By the function of this name, or False where the C library has none. */
static PyObject *free_by(PyObject *module, PyObject *arguments) {
    const char *name;
    Py_ssize_t address, size;
    void *found;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "snn", &name, &address, &size))
        return NULL;
    found = dlsym(RTLD_DEFAULT, name);
    if (!found)
        Py_RETURN_FALSE;
    if (!strcmp(name, "free_aligned_sized"))
        ((void (*)(void *, size_t, size_t))found)((void *)address, 8, size);
    else
        ((void (*)(void *, size_t))found)((void *)address, size);
    Py_RETURN_TRUE;
}

static PyObject *release(PyObject *module, PyObject *address) {
    (void)module;
    free(PyLong_AsVoidPtr(address));
    Py_RETURN_NONE;
}

static PyObject *reallocate(PyObject *module, PyObject *arguments) {
    Py_ssize_t address, size;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "nn", &address, &size))
        return NULL;
    return PyLong_FromVoidPtr(realloc((void *)address, size));
}

static PyObject *map(PyObject *module, PyObject *arguments) {
    Py_ssize_t size, address = 0;
    void *pages;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "n|n", &size, &address))
        return NULL;
    pages = mmap((void *)address, size, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | (address ? MAP_FIXED : 0), -1, 0);
    return address_of(pages == MAP_FAILED ? NULL : pages);
}

static PyObject *unmap(PyObject *module, PyObject *arguments) {
    Py_ssize_t address, size;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "nn", &address, &size))
        return NULL;
    return PyLong_FromLong(munmap((void *)address, size));
}

/* A call from C back into Python. */
static PyObject *call(PyObject *module, PyObject *arguments) {
    PyObject *function, *argument;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OO", &function, &argument))
        return NULL;
    return PyObject_CallFunctionObjArgs(function, argument, NULL);
}

struct visit {
    PyObject *first, *second;
    size_t size;
    int failed;
};

static int call_in_python(PyObject *function) {
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *result = PyObject_CallFunctionObjArgs(function, NULL);
    int failed = !result;
    Py_XDECREF(result);
    if (failed)
        PyErr_Print();
    PyGILState_Release(state);
    return failed;
}

static void *visit_python(void *argument) {
    struct visit *visit = argument;
    visit->failed |= call_in_python(visit->first);
    valloc(visit->size);
    visit->failed |= call_in_python(visit->second);
    return NULL;
}

/* A thread that C has made calls Python, allocates outside of it, and calls it again. */
static PyObject *visit_from_new_thread(PyObject *module, PyObject *arguments) {
    struct visit visit = {0};
    pthread_t thread;
    Py_ssize_t size;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OnO", &visit.first, &size, &visit.second))
        return NULL;
    visit.size = size;
    Py_BEGIN_ALLOW_THREADS;
    visit.failed = pthread_create(&thread, NULL, visit_python, &visit) || pthread_join(thread, NULL);
    Py_END_ALLOW_THREADS;
    return PyBool_FromLong(!visit.failed);
}

static PyMethodDef methods[] = {
    {"allocate", allocate, METH_VARARGS, NULL},
    {"allocate_without_gil", allocate_without_gil, METH_O, NULL},
    {"free_by", free_by, METH_VARARGS, NULL},
    {"free", release, METH_O, NULL},
    {"realloc", reallocate, METH_VARARGS, NULL},
    {"map", map, METH_VARARGS, NULL},
    {"unmap", unmap, METH_VARARGS, NULL},
    {"call", call, METH_VARARGS, NULL},
    {"visit_from_new_thread", visit_from_new_thread, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "conformance", NULL, 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit_conformance(void) { return PyModuleDef_Init(&definition); }
