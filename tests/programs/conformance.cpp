/* What C++ allocates by its own means, `operator new`. */

#include <vector>

/* As often as asked, each vector dies before the next is made. */
extern "C" void fill_vectors(int count, int elements) {
    for (int i = 0; i < count; i++) {
        std::vector<int> vector;
        vector.reserve(elements);
    }
}
