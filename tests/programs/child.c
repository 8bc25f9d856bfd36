/* As child.py: allocates a block of the size that its second argument names, as the first would name a script, and
   ends with the status of its third. */

#include <stdlib.h>

int main(int count, char **arguments) {
    if (count != 4)
        return 2;
    malloc(strtoul(arguments[2], NULL, 10));
    return atoi(arguments[3]);
}
